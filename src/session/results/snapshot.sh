# Takes a snapshot of the workspace and says what has changed since the ones before. Runs in the sandbox, as the agent's
# user: the workspace may be a trap for git. $1: begin or end. $2: the largest patch. $3: the entries that are listed.
set -u
command -v git >/dev/null 2>&1 || exit 127
own=$HOME/.pilothouse-results
# Nothing of the caller's or the agent's configuration counts, and no repository's hooks, filters or monitors run: the
# git directory is our own.
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 LC_ALL=C
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
absolute() { case $1 in '') ;; /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
# Git waits where a pipe or a device lies in the place of a file, and reads an index of any size: this is looked at
# before git opens anything, by names and types alone.
refuse() { echo "$1; remove it" >&2; exit 1; }
if [ -e .git ]; then
    strange=$(find .git -type p -o -type b -o -type c -o -type s 2>/dev/null | head -n 1)
    [ -z "$strange" ] || refuse "in the repository lies $strange, which is no file"
    for file in .git .git/HEAD .git/config .git/index .git/packed-refs .git/commondir .git/objects/info/alternates; do
        [ ! -e "$file" ] || [ -f "$file" ] || [ -d "$file" ] || refuse "$file leads to no file"
    done
    # What the repository has already is neither read nor stored again.
    export GIT_CEILING_DIRECTORIES=${PWD%/*}
    found=$(git -c safe.directory='*' -c core.fsmonitor=false rev-parse --git-path objects --git-path index 2>/dev/null)
    objects=$(absolute "${found%%
*}") index=$(absolute "${found#*
}")
    [ -n "$objects" ] && export GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects"
    [ ! -e "$own/index" ] && [ -f "$index" ] && [ "$(wc -c <"$index")" -le 268435456 ] && cp "$index" "$own/index"
fi
[ -d "$own/git/objects" ] || git init -q --bare --template= "$own/git" || exit 1
mkdir -p "$own/git/info" && printf '/.a2a/\n' >"$own/git/info/exclude"
export GIT_DIR="$own/git" GIT_WORK_TREE="$PWD" GIT_INDEX_FILE="$own/index"
git() { command git -c core.fsmonitor=false -c core.hooksPath=/dev/null -c core.untrackedCache=false \
    -c core.autocrlf=false -c index.skipHash=true -c core.looseCompression=1 -c core.bare=false -c advice.addEmbeddedRepo=false -c gc.auto=0 "$@"; }
snapshot() {
    git add -A --ignore-errors --pathspec-from-file="$own/paths" --pathspec-file-nul 2>/dev/null
    tree=$(git write-tree 2>/dev/null)
}
# An index that cannot be used is made anew.
snapshot || { rm -f "$own/index" "$own/index.lock"; snapshot; } || { git write-tree; exit 1; }
if [ "$1" = begin ]; then
    [ -s "$own/base" ] || echo "$tree" >"$own/base"
    echo "$tree" >"$own/last"
    exit 0
fi
for beginning in base last; do
    [ -s "$own/$beginning" ] || git hash-object -t tree /dev/null >"$own/$beginning"
done
read -r base <"$own/base" && read -r last <"$own/last"
compare() { git diff-tree -r --no-renames --no-ext-diff --no-textconv --no-color "$@"; }
patch() { compare -p --binary --full-index --ignore-submodules=all "$1" "$tree" | head -c "$(($2 + 1))"; }
rm -rf "$own/raw" "$own/numbers" "$own/turn.patch" "$own/base.patch"
most=$(($3 * 5000))
compare -z --raw "$last" "$tree" | head -c "$most" >"$own/raw"
compare -z --numstat "$last" "$tree" | head -c "$most" >"$own/numbers"
patch "$last" "$2" >"$own/turn.patch"
[ "$base" = "$last" ] || patch "$base" "$2" >"$own/base.patch"
echo "$tree" >"$own/last"
