//! Pushes beside others: their places, their time, and what is new upstream meanwhile.

use super::{Forge, TOKEN, branch, post, push};
use crate::reading::{answer, message_in};
use crate::repositories::{commit, git, repository};
use crate::walls::Wall;
use crate::world::{OWNER, await_true};
use serde_json::json;
use std::fs;

#[test]
fn a_push_has_a_place_among_the_gits_until_it_has_gone_out() {
    let described = Wall::covering().shell();
    let forge = Forge::start(&described);
    let push = json!({"policy": "allow", "request": false});
    let config = forge.config("github", TOKEN, push);
    let world = described.config(config).config(json!({"limits": {"gits": 1}})).start();
    for context in ["one", "two"] {
        world.send(message_in(context, "echo a > a; git add a; git commit -qm one"));
    }
    let hold = forge.folder.join("hold");
    fs::write(&hold, "").unwrap();
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| post(&world, "one", OWNER, &json!({})));
        assert!(await_true(world.patience(), || forge.folder.join("held").exists()));
        let (status, told) = post(&world, "two", OWNER, &json!({}));
        assert!(status == 503 && told.contains("`limits.gits`"), "{status} {told}");
        fs::remove_file(&hold).unwrap();
        let (status, told) = pushing.join().unwrap();
        assert_eq!(status, 200, "{told}");
    });
    assert!(forge.branches().contains(&branch(&world, "one")));
}

#[test]
fn a_push_that_takes_too_long_is_ended_and_can_be_repeated() {
    let described = Wall::covering().shell();
    let forge = Forge::start(&described);
    let push = json!({"policy": "allow", "request": false});
    let config = forge.config("github", TOKEN, push);
    let world = described.config(config).config(json!({"timeouts": {"publish": "1s"}})).start();
    world.send(message_in("one", "echo a > a; git add a; git commit -qm one"));
    let hold = forge.folder.join("hold");
    fs::write(&hold, "").unwrap();
    let (status, told) = post(&world, "one", OWNER, &json!({}));
    assert!(status == 400 && told.contains("`timeouts.publish`"), "{status} {told}");
    fs::remove_file(&hold).unwrap();
    let (_, told) = post(&world, "one", OWNER, &json!({}));
    assert!(forge.branches().contains(&branch(&world, "one")), "{told}");
}

#[test]
fn a_session_that_has_merged_what_is_newer_than_the_mirror_is_pushed() {
    let described = Wall::covering().shell();
    let shop = repository(&described, "shop");
    let upstream = described.path("upstream.git");
    git(&shop, &["clone", "-q", "--bare", ".", upstream.to_str().unwrap()]);
    git(&shop, &["remote", "add", "origin", upstream.to_str().unwrap()]);
    let workspace =
        json!({"mode": "repository", "repository": {"url": upstream}, "push": {"policy": "allow"}});
    let config = json!({"workspace": workspace, "isolation": {"read": [upstream]}});
    let world = described.config(config).start();
    world.send(message_in("one", "echo a > a"));
    let newer = commit(&shop, "newer", "newer");
    git(&shop, &["push", "-q", "origin", "main"]);
    let merging = "git add a; git commit -qm mine; git config --global safe.directory '*'; \
                   git fetch -q origin 2>&1 && git merge -q --no-edit origin/main 2>&1 && cat newer";
    let task = world.send(message_in("one", merging));
    assert_eq!(answer(&task).trim(), "newer", "{task:#}");
    let (code, said) = push(&world, &["one"]);
    assert!(code == Some(0) && said.contains("is pushed to upstream"), "{code:?} {said}");
    let own = branch(&world, "one");
    assert_eq!(git(&upstream, &["merge-base", &own, "main"]), newer);
    // What it follows elsewhere is no commit that anybody was shown.
    let foreign = "git init -q \"$HOME/else\"; cd \"$HOME/else\"; git commit -q --allow-empty -m else; cd - >/dev/null; \
                   git remote add else \"$HOME/else\"; git fetch -q else; \
                   git merge -q --no-edit --allow-unrelated-histories $(git -C \"$HOME/else\" rev-parse HEAD) && echo merged";
    let task = world.send(message_in("one", foreign));
    assert_eq!(answer(&task).trim(), "merged", "{task:#}");
    let (code, said) = push(&world, &["one"]);
    assert!(code == Some(2) && said.contains("are on no branch of upstream"), "{code:?} {said}");
}
