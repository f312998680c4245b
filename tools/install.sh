#!/bin/sh
# Installs a release of Pilothouse: downloads the archive for this machine, compares its SHA-256 with the release's
# SHA256SUMS, and only then unpacks it. Nothing of the archive is run. Needs curl or wget, tar, and sha256sum or shasum.
#
#   install.sh [--version VERSION] [--prefix DIR] [--base-url URL]
#
#   --version   default: the release that this script came with, else the newest
#   --prefix    the program goes to DIR/bin; default ~/.local. /usr/local is where the systemd unit looks for it
#   --base-url  where releases lie: URL/download/vVERSION/FILE, as on GitHub (https://github.com/OWNER/REPO/releases);
#               file:///DIR and plain http on loopback will do, too. Also PILOTHOUSE_BASE_URL
set -eu
# A release writes its own values here (tools/release.sh installer).
BASE_URL=
VERSION=

say() { echo "install: $*"; }
fail() { echo "install: $*" >&2; exit 1; }
usage() { sed -n '2,/^set -eu/p' "$0" | sed -n 's/^# \{0,1\}//p'; }

# All in one function that is called on the last line: a script that was cut off on its way does nothing.
main() {
    base=${PILOTHOUSE_BASE_URL:-$BASE_URL} version=${PILOTHOUSE_VERSION:-$VERSION} prefix=${PILOTHOUSE_PREFIX:-}
    while [ $# -gt 0 ]; do
        case $1 in
            --version | --prefix | --base-url)
                [ $# -ge 2 ] || fail "$1 needs a value"
                case $1 in --version) version=$2 ;; --prefix) prefix=$2 ;; *) base=$2 ;; esac
                shift 2 ;;
            -h | --help) usage; exit 0 ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    [ -n "$prefix" ] || { [ -n "${HOME:-}" ] || fail "HOME is not set; use --prefix"; prefix=$HOME/.local; }
    [ -n "$base" ] || fail "where from? name it with --base-url or PILOTHOUSE_BASE_URL (https://github.com/OWNER/REPO/releases)"
    base=${base%/}
    case $base in
        https://* | file:///*) ;;
        http://127.0.0.1[:/]* | http://localhost[:/]* | http://\[::1\]*) ;;
        *) fail "$base: only https, file, and http on loopback are taken" ;;
    esac

    [ "$(uname -s)" = Linux ] || fail "$(uname -s): releases are for Linux; build from source (docs/installation.md)"
    case $(uname -m) in
        x86_64 | amd64) arch=x86_64 ;;
        aarch64 | arm64) arch=aarch64 ;;
        *) fail "$(uname -m): there are releases for x86_64 and aarch64; build from source (docs/installation.md)" ;;
    esac
    if command -v sha256sum >/dev/null; then hash=sha256sum
    elif command -v shasum >/dev/null; then hash="shasum -a 256"
    else fail "sha256sum or shasum is needed to check the download"; fi
    command -v tar >/dev/null || fail "tar is needed"

    work=$(mktemp -d)
    fresh=
    trap 'rm -rf "$work" ${fresh:+"$fresh"}' EXIT
    trap 'exit 1' HUP INT TERM

    if [ -z "$version" ]; then
        fetch "$base/latest/download/VERSION" "$work/VERSION" || fail "$base tells no newest version; name one with --version"
        version=$(head -n 1 "$work/VERSION")
    fi
    version=${version#v}
    # It becomes a part of file names.
    case $version in
        [0-9]*) ;;
        *) fail "'$version' is no version" ;;
    esac
    case $version in *[!0-9A-Za-z.-]*) fail "'$version' is no version" ;; esac

    file=pilothouse-$version-linux-$arch.tar.gz
    from=$base/download/v$version
    say "$from/$file"
    fetch "$from/SHA256SUMS" "$work/SHA256SUMS" || fail "$from/SHA256SUMS cannot be had; without checksums nothing is installed"
    # One line, this very name; "*" marks a binary file.
    wanted=$(awk -v file="$file" '$2 == file || $2 == "*" file {print $1}' "$work/SHA256SUMS")
    case $wanted in
        *[!0-9a-f]* | '') fail "SHA256SUMS has no checksum of $file; nothing is installed" ;;
    esac
    [ ${#wanted} -eq 64 ] || fail "SHA256SUMS has no checksum of $file; nothing is installed"
    fetch "$from/$file" "$work/$file" || fail "$from/$file cannot be had"
    got=$($hash "$work/$file" | cut -d' ' -f1)
    [ "$got" = "$wanted" ] || fail "$file is not what the release says (SHA-256 $got, not $wanted); nothing is installed"
    say "SHA-256 $got, as the release says"

    name=pilothouse-$version-linux-$arch
    tar -xzf "$work/$file" -C "$work" "$name/pilothouse" || fail "$file holds no $name/pilothouse"
    [ -f "$work/$name/pilothouse" ] && [ ! -L "$work/$name/pilothouse" ] || fail "$name/pilothouse is not a plain file"
    mkdir -p "$prefix/bin" || fail "$prefix/bin cannot be made; choose another with --prefix"
    # Beside its place first, then renamed: a server that runs keeps the file that it was started from.
    fresh=$prefix/bin/.pilothouse.new.$$
    { cp "$work/$name/pilothouse" "$fresh" && chmod 755 "$fresh" && mv -f "$fresh" "$prefix/bin/pilothouse"; } ||
        fail "$prefix/bin cannot be written; choose another with --prefix"
    fresh=
    say "pilothouse $version is $prefix/bin/pilothouse"
    case :${PATH:-}: in *":$prefix/bin:"*) ;; *) say "$prefix/bin is not in PATH" ;; esac
}

# fetch URL FILE
fetch() {
    case $1 in file://*) cp "${1#file://}" "$2" 2>/dev/null; return ;; esac
    if command -v curl >/dev/null; then
        case $1 in https:*) set -- "$1" "$2" --proto =https --tlsv1.2 ;; esac
        url=$1 to=$2; shift 2
        curl -fsSL --retry 3 --max-time 600 "$@" -o "$to" "$url"
    elif command -v wget >/dev/null; then
        wget -q -O "$2" "$1"
    else
        fail "curl or wget is needed"
    fi
}

main "$@"
