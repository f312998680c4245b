#!/bin/sh
# The blocks of commands of a document, one file each, so that tests run what people read.
# Usage: tests/install/blocks.sh DOCUMENT.md DIR
#   DIR/HEADING-N.sh for the Nth ```sh block below a heading (systemd-1.sh); blocks with the line
#   `<!-- not run: REASON -->` above them are left out, and DIR/not-run lists them.
set -eu
[ $# -eq 2 ] || { sed -n 's/^# //p' "$0" >&2; exit 2; }
mkdir -p "$2"
: >"$2/not-run"
awk -v dir="$2" '
    /^#+ / && !inside {
        slug = tolower($0)
        gsub(/^#+ |[^a-z0-9 -]/, "", slug); gsub(/ /, "-", slug)
        n = 0
    }
    /^```sh$/ && !inside {
        inside = 1; n++
        name = slug "-" n
        if (reason != "") {print name ": " reason >>(dir "/not-run"); file = "/dev/null"} else file = dir "/" name ".sh"
        next
    }
    /^```/ {if (inside) {inside = 0; close(file)}; reason = ""; next}
    inside {print >file; next}
    /^<!-- not run: .* -->$/ {reason = $0; gsub(/^<!-- not run: | -->$/, "", reason); next}
    NF {reason = ""}
' "$1"
