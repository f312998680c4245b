//! The command line with several agents in one server, and with lists that are longer than a page.

use crate::cli_asks::{pilothouse, url};
use crate::many_agents::two;
use crate::reading::{message_in, text_of};
use crate::world::World;
use serde_json::{Value, json};

/// The commands that a client is told, without the name of the program.
fn commands(text: &str) -> Vec<Vec<String>> {
    let told = text.lines().filter_map(|line| Some(line.split_once("pilothouse ")?.1));
    told.map(|command| shell_words::split(command).unwrap()).collect()
}

#[test]
fn each_command_reaches_the_agent_that_is_named() {
    let world = two().start();
    let address = url(world.address());
    let run = |words: &[&str]| pilothouse(&address, &[words, &["--agent", "other"]].concat());
    let asked = run(&["send", "--context", "mine", "ask Which colour?"]);
    assert_eq!(asked.code, Some(4), "{}", asked.err);
    let listed = run(&["tasks", "list", "--json"]);
    let task = text_of(&serde_json::from_str::<Value>(&listed.out).unwrap()[0], "id").to_owned();
    for words in [
        &["tasks", "list"][..],
        &["tasks", "get", &task],
        &["tasks", "asks"],
        &["sessions", "list"],
        &["sessions", "show", "mine"],
        &["card"],
        &["tasks", "answer", &task, "say green"],
        &["tasks", "watch", &task],
        &["sessions", "fork", "mine", "say forked"],
    ] {
        let said = run(words);
        let is_settled = matches!(said.code, Some(0 | 4));
        assert!(is_settled && !said.out.is_empty(), "{words:?}: {} {}", said.out, said.err);
    }
    // Without `--agent` all agents are searched.
    for words in [&["tasks", "get", &task][..], &["sessions", "show", "mine"]] {
        let said = pilothouse(&address, words);
        assert_eq!(said.code, Some(0), "{words:?}: {}", said.err);
    }
    let card = serde_json::from_str::<Value>(&run(&["card", "--json"]).out).unwrap();
    assert_eq!(card["card"]["name"], "the other one");
}

#[test]
fn a_command_that_is_told_leads_to_the_same_agent() {
    let world = two().start();
    let address = url(world.address());
    let asked = pilothouse(&address, &["send", "ask Which colour?", "--agent", "other"]);
    let [answer] = &commands(&asked.err)[..] else { panic!("{}", asked.err) };
    let words: Vec<&str> = answer.iter().map(String::as_str).collect();
    let [words @ .., "..."] = &words[..] else { panic!("{words:?}") };
    // It names the address itself.
    let said = pilothouse(&address, &[words, &["say green"]].concat());
    assert_eq!((said.code, said.out.as_str()), (Some(0), "green\n"), "{}", said.err);

    let begun = pilothouse(&address, &["send", "--no-wait", "say done", "--agent", "other"]);
    let [watch] = &commands(&begun.err)[..] else { panic!("{}", begun.err) };
    let words: Vec<&str> = watch.iter().map(String::as_str).collect();
    let said = pilothouse(&address, &words);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "done\n"), "{}", said.err);
}

#[test]
fn of_an_agent_that_is_not_served_each_command_says_which_there_are() {
    let world = two().start();
    let address = url(world.address());
    let told = format!(
        "pilothouse: the agent `nobody` is not served by http://{}; there are: fake, other\n",
        world.address()
    );
    for words in [
        &["send", "hello"][..],
        &["card"],
        &["tasks", "list"],
        &["tasks", "get", "x"],
        &["tasks", "watch", "x"],
        &["tasks", "cancel", "x"],
        &["tasks", "approve", "x"],
        &["approve", "x"],
        &["tasks", "asks"],
        &["sessions", "list"],
        &["sessions", "show", "x"],
        &["sessions", "fork", "x"],
    ] {
        let said = pilothouse(&address, &[words, &["--agent", "nobody"]].concat());
        assert_eq!((said.code, said.err), (Some(2), told.clone()), "{words:?}");
    }
}

#[test]
fn the_asks_of_one_agent_are_listed_alone_and_else_those_of_all() {
    let world = two().start();
    let address = url(world.address());
    for agent in ["fake", "other"] {
        pilothouse(&address, &["send", "ask Which colour?", "--agent", agent]);
    }
    let agents = |words: &[&str]| {
        let said = pilothouse(&address, &[&["tasks", "asks", "--json"], words].concat());
        let asks = serde_json::from_str::<Vec<Value>>(&said.out).unwrap();
        asks.iter().map(|ask| text_of(ask, "agent").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(agents(&[]), ["fake", "other"]);
    assert_eq!(agents(&["--agent", "other"]), ["other"]);
}

// === lists ===

#[test]
fn a_list_says_how_much_it_leaves_out_and_follows_pages_up_to_its_limit() {
    let world = World::start();
    let address = url(world.address());
    for n in 0..5 {
        world.send(message_in(&format!("context-{n}"), "ask Which colour?"));
    }
    for list in [["sessions", "list"], ["tasks", "asks"], ["tasks", "list"]] {
        let entries = |limit: &str| {
            let said = pilothouse(&address, &[&list[..], &["--json", "--limit", limit]].concat());
            assert_eq!(said.code, Some(0), "{}", said.err);
            let entries = serde_json::from_str::<Vec<Value>>(&said.out).unwrap();
            (entries.len(), said.err)
        };
        assert_eq!(entries("5"), (5, String::new()), "{list:?}");
        assert_eq!(entries("3"), (3, "3 of 5; more with --limit\n".to_owned()), "{list:?}");
    }
}

#[test]
fn sessions_are_listed_in_pages_without_a_gap_and_the_last_page_has_no_token() {
    let world = World::start();
    for n in 0..5 {
        world.send(message_in(&format!("context-{n}"), "say x"));
    }
    let authorization = format!("Bearer {}", crate::world::OWNER);
    let headers = [("Authorization", authorization.as_str())];
    let (mut contexts, mut query) = (Vec::new(), "pageSize=2".to_owned());
    for size in [2, 2, 1] {
        let page = world.get(&format!("/api/v1/sessions?{query}"), &headers).json();
        let sessions = page["sessions"].as_array().unwrap();
        assert_eq!((sessions.len(), &page["totalSize"]), (size, &json!(5)), "{page}");
        contexts.extend(sessions.iter().map(|one| text_of(one, "contextId").to_owned()));
        query = format!("pageSize=2&pageToken={}", text_of(&page, "nextPageToken"));
    }
    assert_eq!(query, "pageSize=2&pageToken=");
    contexts.sort();
    assert_eq!(contexts, (0..5).map(|n| format!("context-{n}")).collect::<Vec<_>>());
    for wrong in ["pageSize=0", "pageSize=101", "pageToken=x", "pageToken=1.x"] {
        let reply = world.get(&format!("/api/v1/sessions?{wrong}"), &headers);
        assert_eq!(reply.status, 400, "{wrong}");
    }
}
