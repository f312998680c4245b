# Makes the clone of a session in the folder that it is started in; run inside of the session's sandbox.
# Arguments: the mirror, a commit, the session's branch, the branch of the commit or nothing, the address, the
# repository's folder or nothing, and folders in it that are shared.
set -eu
mirror=$1 commit=$2 branch=$3 name=$4 url=$5 local=$6
shift 6
if ! command -v git >/dev/null; then
    echo 'git was not found' >&2
    exit 127
fi
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_DEFAULT_REF_FORMAT=files
if [ -f .git/pilothouse ]; then
    # The copy of another session goes on from where that is, on a branch of its own.
    git checkout --quiet -B "$branch"
    rm -rf "$HOME/.pilothouse-included"
    cat .git/pilothouse
    exit
fi
rm -rf .git
git init --quiet --template= .
mkdir -p .git/info .git/objects/info
printf '%s\n' "$mirror/objects" > .git/objects/info/alternates
printf '/.a2a/\n' > .git/info/exclude
if [ -f "$mirror/packed-refs" ]; then
    cat "$mirror/packed-refs" > .git/packed-refs
fi
git config remote.origin.url "$url"
git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
if [ -n "$name" ]; then
    git symbolic-ref refs/remotes/origin/HEAD "refs/remotes/origin/$name"
fi
git symbolic-ref HEAD "refs/heads/$branch"
git -c core.logAllRefUpdates=true reset --quiet --hard "$commit"
# What the server has brought of ignored files of the repository's working copy.
included=$HOME/.pilothouse-included
if [ -d "$included" ]; then
    # Names may hold anything, so each ends with a NUL; what cannot be put there is left out, and the clone stands.
    (cd "$included" && find . -type f -print0) | git check-ignore -z --no-index --stdin | xargs -0 -r sh -c '
        included=$1
        shift
        for path do
            if [ ! -e "$path" ] && [ ! -L "$path" ]; then
                { mkdir -p "${path%/*}" && mv "$included/$path" "$path"; } || echo "$path is left out" >&2
            fi
        done' sh "$included" || :
    rm -rf "$included"
fi
for path do
    if [ ! -e "$path" ] && [ ! -L "$path" ]; then
        mkdir -p "$(dirname "$path")"
        ln -s "$local/$path" "$path"
        printf '/%s\n' "$path" >> .git/info/exclude
    fi
done
printf '%s\n' "$commit" > .git/pilothouse
printf '%s\n' "$commit"
