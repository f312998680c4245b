//! The driver of a plain program as a whole.

use super::*;

fn driver(change: impl FnOnce(&mut CommandOptions)) -> Command {
    let mut options = CommandOptions { program: "bot".to_owned(), ..CommandOptions::default() };
    change(&mut options);
    Command::new(options)
}

fn turn(text: &str) -> Turn {
    Turn {
        text: text.to_owned(),
        task_id: "t".to_owned(),
        context_id: "c".to_owned(),
        message_id: "m".to_owned(),
        ..Turn::default()
    }
}

fn exit(code: i32, stderr: &str) -> Exit {
    Exit { code: Some(code), signal: None, stderr: stderr.to_owned() }
}

#[test]
fn the_message_is_the_last_argument_behind_the_terminator() {
    let mut bot = driver(|options| {
        options.args = vec!["run".to_owned()];
        options.terminator = Some("--".to_owned());
    });
    let launch = bot.launch(&Setting::default(), &turn("-hi")).unwrap();
    assert_eq!(launch.args, ["run", "--", "-hi"]);
    assert_eq!(bot.begin(&turn("-hi")), [Step::Ready, Step::CloseInput]);
}

#[test]
fn a_message_on_stdin_is_written_and_the_input_closed() {
    let mut bot = driver(|options| options.input = Input::Stdin);
    assert_eq!(bot.launch(&Setting::default(), &turn("-\0")).unwrap().args, [""; 0]);
    assert_eq!(
        bot.begin(&turn("hi")),
        [Step::Ready, Step::Write(b"hi".to_vec()), Step::CloseInput]
    );
}

#[test]
fn the_ids_are_in_the_environment() {
    let launch = driver(|_| {}).launch(&Setting::default(), &turn("hi")).unwrap();
    let expected = [
        ("A2A_TASK_ID", "t"),
        ("A2A_CONTEXT_ID", "c"),
        ("A2A_MESSAGE_ID", "m"),
        ("A2A_MESSAGE", ""),
    ];
    assert_eq!(launch.env, expected.map(|(name, id)| (name.to_owned(), id.to_owned())));
}

#[test]
fn messages_that_an_argument_cannot_carry_are_refused_with_advice() {
    let bot = driver(|_| {});
    for text in ["-rf".to_owned(), "a\0b".to_owned(), "x".repeat(MAX_ARGUMENT + 1)] {
        let refusal = bot.check(&turn(&text)).unwrap_err();
        assert!(refusal.0.contains("`input: stdin`"), "{refusal}");
    }
    assert_eq!(bot.check(&turn(&"x".repeat(MAX_ARGUMENT))), Ok(()));
}

#[test]
fn output_streams_as_text_with_characters_whole() {
    let mut bot = driver(|_| {});
    bot.begin(&turn("hi"));
    assert_eq!(bot.chunk(b"caf\xc3"), [Step::Say(Event::Text("caf".to_owned()))]);
    assert_eq!(bot.chunk(b"\xa9"), [Step::Say(Event::Text("é".to_owned()))]);
    assert_eq!(bot.exit(&exit(0, "")), [Step::End(Outcome::Completed { answer: None })]);
}

#[test]
fn a_failure_carries_the_exit_code_and_the_last_words() {
    let mut bot = driver(|_| {});
    bot.begin(&turn("hi"));
    let message = "`bot` exited with code 2: boom".to_owned();
    assert_eq!(bot.exit(&exit(2, "boom\n")), [Step::End(Outcome::Failed { message, hint: None })]);
}

#[test]
fn an_interrupted_program_ends_canceled() {
    let mut bot = driver(|_| {});
    bot.begin(&turn("hi"));
    assert_eq!(bot.interrupt(), []);
    let killed = Exit { code: None, signal: Some(15), stderr: String::new() };
    assert_eq!(bot.exit(&killed), [Step::End(Outcome::Canceled)]);
}

#[test]
fn a_declared_state_ends_the_turn_and_the_exit_code_no_longer_counts() {
    let mut bot = driver(|options| options.format = Format::Events);
    bot.begin(&turn("hi"));
    let steps = bot.line(br#"{"type":"status","state":"failed","text":"no"}"#);
    assert_eq!(steps, [Step::End(Outcome::Failed { message: "no".to_owned(), hint: None })]);
    assert!(matches!(
        bot.line(br#"{"type":"text","text":"late"}"#)[..],
        [Step::Say(Event::Raw(_))]
    ));
    assert_eq!(bot.exit(&exit(1, "")), []);
}

#[test]
fn the_text_of_a_completed_state_is_the_answer_unless_one_has_streamed() {
    let done = br#"{"type":"status","state":"completed","text":"done"}"#;
    let mut silent = driver(|options| options.format = Format::Events);
    silent.begin(&turn("hi"));
    assert_eq!(
        silent.line(done),
        [Step::End(Outcome::Completed { answer: Some("done".to_owned()) })]
    );

    let mut talking = driver(|options| options.format = Format::Events);
    talking.begin(&turn("hi"));
    talking.line(br#"{"type":"text","text":"the answer"}"#);
    let remark = Event::Status { text: "done".to_owned(), data: None };
    let end = Step::End(Outcome::Completed { answer: None });
    assert_eq!(talking.line(done), [Step::Say(remark), end]);
}
