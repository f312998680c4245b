# Commits what is left uncommitted in the clone of a session, and says what its branch has; run inside of the session's
# sandbox. Arguments: the branch, the commit that the session began at, the message. The last line is the commit of the
# branch, how many commits are on no other branch of origin, and the commit of the branch at origin; before it stand the
# subjects.
set -eu
branch=$1 base=$2 message=$3
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1 LC_ALL=C
git() {
    command git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c commit.gpgSign=false -c gc.auto=0 "$@"
}
# Not in a pipe: a git that fails must end this script, not count as nothing.
status=$(git status --porcelain --untracked-files=normal)
if [ -n "$status" ]; then
    if [ "$(git symbolic-ref --quiet HEAD)" != "refs/heads/$branch" ]; then
        echo "there are changes that are not committed, and the clone is not on the branch $branch" >&2
        exit 1
    fi
    git add --all >/dev/null 2>&1 || { git add --all; exit 1; }
    git diff --cached --quiet || printf '%s\n' "$message" | git commit --quiet --no-verify --file=-
fi
new="refs/heads/$branch --not --exclude=origin/$branch --remotes $base"
# The parts are names of git's, without spaces.
git log --format='- %h %<(200,trunc)%s' --abbrev=12 --max-count=20 $new
printf '%s %s %s\n' "$(git rev-parse --verify "refs/heads/$branch")" "$(git rev-list --count $new)" \
    "$(git rev-parse --verify --quiet "refs/remotes/origin/$branch" || echo none)"
