# Fetches the sources of a set-up into the folder `sources` of HOME; run inside of the sandbox of the set-up phase.
# Arguments: for each source its name, its kind, an address, a ref or nothing, and a hash or nothing.
set -eu
umask 022
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 GIT_LFS_SKIP_SMUDGE=1
need() {
    if ! command -v "$1" >/dev/null; then
        echo "source $name: $1 was not found" >&2
        exit 127
    fi
}
fail() {
    echo "source $name: $1" >&2
    exit 1
}
check() { # file, hash
    if [ -n "$2" ]; then
        found=$(sha256sum "$1")
        found=${found%% *}
        [ "$found" = "$2" ] || fail "its sha256 is $found, not $2 as declared"
    fi
}
download() { # address, file
    need curl
    curl --fail --silent --show-error --location --proto '=http,https' --output "$2" "$1" || fail "$1 could not be fetched"
}
unpack() { # file, folder, leading folders to leave out
    need tar
    tar -tf "$1" > "$work/names" || fail "it is no tar archive"
    if grep -Eq '(^/|(^|/)\.\.(/|$))' "$work/names"; then
        fail "its archive holds names that lead out of it"
    fi
    tar --no-same-owner --no-same-permissions --strip-components="$3" -C "$2" -xf "$1" || fail "its archive cannot be unpacked"
}
mkdir -p "$HOME/sources" "$HOME/fetching"
work=$HOME/fetching
while [ $# -ge 5 ]; do
    name=$1 kind=$2 address=$3 ref=$4 hash=$5
    shift 5
    into=$HOME/sources/$name
    echo "source $name: fetching $address $ref" >&2
    case $kind in
    git)
        need git
        mkdir "$into"
        git init --quiet --template= "$into"
        # One commit, whose name or branch the operator has given.
        git -C "$into" -c protocol.version=2 fetch --quiet --depth 1 --no-tags -- "$address" "$ref" || fail "$address has no $ref, or cannot be fetched"
        git -C "$into" -c advice.detachedHead=false checkout --quiet FETCH_HEAD
        ;;
    npm)
        need npm
        mkdir "$work/$name" "$into"
        (cd "$work/$name" && npm pack --silent --ignore-scripts "$address" >/dev/null) || fail "$address could not be fetched by npm"
        set -- "$work/$name"/*.tgz "$@"
        check "$1" "$hash"
        unpack "$1" "$into" 1
        shift
        ;;
    archive)
        mkdir "$into"
        download "$address" "$work/archive"
        check "$work/archive" "$hash"
        unpack "$work/archive" "$into" 0
        ;;
    url)
        download "$address" "$into"
        check "$into" "$hash"
        ;;
    esac
done
