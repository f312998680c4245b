#!/usr/bin/env bash
# The version stands in Cargo.toml (workspace.package) alone; everything that repeats it must agree.
#
# Usage: tools/check-version.sh           compares
#        tools/check-version.sh TAG       and checks that the tag (v1.2.3) is that version, with a section in CHANGELOG.md
#        tools/check-version.sh --print   prints the version
# ROOT=DIR looks at another checkout. Ends with counts.
set -u
cd "${ROOT:-"$(dirname "$0")/.."}" || exit 1
passed=0 failed=0 skipped=0

version=$(awk '/^\[/ {in_it = ($0 == "[workspace.package]")} in_it && /^version *= *"/ {gsub(/^[^"]*"|".*$/, ""); print; exit}' Cargo.toml)
if ! [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
    echo "check-version: no version in Cargo.toml below [workspace.package]" >&2
    exit 1
fi
if [ "${1:-}" = --print ]; then echo "$version"; exit 0; fi

# same WHAT FOUND: one line of the comparison; FOUND may be several words that must all be the version.
same() {
    local word all=
    for word in $2; do [ "${word#v}" = "$version" ] || all="$all $word"; done
    if [ -z "$2" ]; then
        echo "✗ $1: no version found"; failed=$((failed + 1))
    elif [ -n "$all" ]; then
        echo "✗ $1:$all, not $version"; failed=$((failed + 1))
    else
        echo "✓ $1: $version"; passed=$((passed + 1))
    fi
}
skip() { echo "- $1: $2"; skipped=$((skipped + 1)); }

# Every package of ours takes the version from the workspace.
own=$(grep -lE '^version *= *"' -- */Cargo.toml */*/Cargo.toml 2>/dev/null | grep -v '^target/')
if [ -z "$own" ]; then echo "✓ packages: none has a version of its own"; passed=$((passed + 1)); else echo "✗ packages: $own has a version of its own"; failed=$((failed + 1)); fi
same "Cargo.lock" "$(awk '/^name = "pilothouse(-a2a|-agents|-egress|-launcher|-sandbox)?"$/ {getline; gsub(/^version = "|"$/, ""); print}' Cargo.lock | sort -u)"

chart=deploy/helm/pilothouse/Chart.yaml
if [ -e $chart ]; then
    same "chart, version" "$(sed -nE 's/^version: *"?([^" ]+)"?.*/\1/p' $chart)"
    same "chart, appVersion" "$(sed -nE 's/^appVersion: *"?([^" ]+)"?.*/\1/p' $chart)"
else
    skip "chart" "no $chart"
fi
# An image's version label is given at build; a recipe that writes one down must have the right one.
labels=$(grep -rhoE 'image\.version="?[0-9][^" ]*' deploy --include='*Dockerfile*' 2>/dev/null | sed -E 's/.*version="?//' | sort -u)
[ -z "$labels" ] || same "labels written into image recipes" "$labels"
rendered=$(grep -rhoE 'app\.kubernetes\.io/version: *"?[0-9][^" ]*' deploy/kustomize 2>/dev/null | sed -E 's/.*: *"?//' | sort -u)
[ -z "$rendered" ] || same "labels in the Kustomize base" "$rendered"
# Images, archives and charts of ours named with a version, in what people read and in what runs.
named=$(grep -rhoE 'pilothouse(-server|-agent)?(:|-|/v)v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?' README.md docs deploy examples compose.yaml 2>/dev/null |
    sed -E 's/^pilothouse(-server|-agent)?[:\/-]v?//; s/\.(tar|tgz|spdx|cdx).*//; s/-(linux|py3).*//' | sort -u)
if [ -n "$named" ]; then same "names in docs, deploy and examples" "$named"; else skip "names in docs, deploy and examples" "none with a version"; fi
said=$(grep -hoE '^(PILOTHOUSE_)?VERSION=[0-9]+\.[0-9]+\.[0-9]+[^ ]*' README.md docs/*.md 2>/dev/null | cut -d= -f2 | sort -u)
[ -z "$said" ] || same "VERSION= in docs" "$said"

if [ -n "${1:-}" ]; then
    same "tag" "$1"
    if grep -qE "^## \[$version\]( - [0-9]{4}-[0-9]{2}-[0-9]{2})?$" CHANGELOG.md; then
        echo "✓ CHANGELOG.md has a section"; passed=$((passed + 1))
    else
        echo "✗ CHANGELOG.md has no section '## [$version] - DATE'"; failed=$((failed + 1))
    fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
