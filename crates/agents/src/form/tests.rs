//! Answers in words and values, and what is refused of them.

use super::*;

fn allow(input: Value) -> Answer {
    Answer::Allow { input: (!input.is_null()).then_some(input) }
}

fn colour() -> Form {
    let params = json!({ "mode": "form", "message": "Which?", "requestedSchema": { "properties": {
        "q": { "type": "string", "title": "Choice", "oneOf": [{ "const": "r", "title": "Red" }, { "const": "b", "title": "Blue" }] },
        "q_custom": { "type": "string", "title": "Other" },
    } } });
    Form::of(&params)
}

fn content(answer: Value) -> Value {
    colour().answered(&allow(answer))["content"].clone()
}

#[test]
fn a_form_offers_its_choices() {
    let form = colour();
    assert_eq!(
        (form.text().as_str(), form.options()),
        ("Which?", vec!["Red".to_owned(), "Blue".to_owned()])
    );
}

#[test]
fn words_become_the_choice_that_they_mean_or_free_text() {
    assert_eq!(content(json!("blue ")), json!({ "q": "b" }));
    assert_eq!(content(json!("neither")), json!({ "q_custom": "neither" }));
    assert_eq!(content(json!({ "answers": { "Which?": "Red" } })), json!({ "q": "r" }));
    assert_eq!(content(json!({ "content": { "q_custom": "x" } })), json!({ "q_custom": "x" }));
}

#[test]
fn values_have_the_type_of_their_property() {
    let (yes, no) = (json!("yes"), json!("maybe"));
    assert_eq!(typed(&json!({ "type": "boolean" }), &yes), Some(json!(true)));
    assert_eq!(typed(&json!({ "type": "boolean" }), &no), None);
    assert_eq!(typed(&json!({ "type": "integer" }), &json!("3")), Some(json!(3)));
    let several = json!({ "type": "array", "items": { "enum": ["a", "b"] } });
    assert_eq!(typed(&several, &json!("b, A")), Some(json!(["b", "a"])));
}

#[test]
fn a_form_is_declined_when_something_required_is_missing() {
    let params = json!({ "message": "", "requestedSchema": {
        "properties": { "a": { "type": "string" } }, "required": ["a"] } });
    let form = Form::of(&params);
    assert_eq!(form.answered(&allow(Value::Null))["action"], "decline");
}

/// What is wrong with an answer to a form of one field, `f`.
fn wrong(property: Value, answer: Value) -> String {
    let form = json!({ "requestedSchema": {
        "type": "object", "properties": { "f": property }, "required": ["f"] } });
    match check(&form, &allow(json!({ "answers": { "f": answer } }))) {
        Ok(()) => String::new(),
        Err(misfit) => misfit.to_string(),
    }
}

#[test]
fn a_value_that_is_not_as_the_schema_wants_it_is_refused_with_the_reason() {
    for (property, good, bad, reason) in [
        (json!({ "type": "integer" }), json!("3"), json!("three"), "`f` must be a whole number"),
        (json!({ "type": "integer", "maximum": 9 }), json!(9), json!(10), "`f` must be at most 9"),
        (
            json!({ "type": "number", "minimum": 0.5 }),
            json!(0.5),
            json!("0"),
            "`f` must be at least 0.5",
        ),
        (json!({ "type": "boolean" }), json!(true), json!("maybe"), "`f` must be true or false"),
        (
            json!({ "type": "string", "enum": ["a", "b"] }),
            json!("A"),
            json!("c"),
            "`f` must be one of a, b",
        ),
        (
            json!({ "type": "string", "maxLength": 2 }),
            json!("äö"),
            json!("abc"),
            "`f` must be at most 2 characters",
        ),
        (
            json!({ "type": "string", "format": "email" }),
            json!("a@b"),
            json!("a b"),
            "`f` must have the form of name@example.com",
        ),
        (
            json!({ "type": "string", "format": "uri" }),
            json!("https://a/"),
            json!("a"),
            "`f` must have the form of https://example.com/",
        ),
        (
            json!({ "type": "string", "format": "date" }),
            json!("2026-11-30"),
            json!("2026-13-30"),
            "`f` must have the form of 2026-01-31",
        ),
        (
            json!({ "type": "array", "items": { "enum": ["a", "b"] }, "minItems": 1 }),
            json!(["a"]),
            json!([]),
            "`f` must be at least 1 items",
        ),
        (
            json!({ "type": "array", "items": { "enum": ["a", "b"] } }),
            json!("a, b"),
            json!(["c"]),
            "`f` may hold a, b",
        ),
    ] {
        assert_eq!(wrong(property.clone(), good), "", "{property}");
        assert_eq!(wrong(property, bad), reason);
    }
}

#[test]
fn an_answer_that_leaves_out_a_field_or_has_one_more_is_refused() {
    let form = json!({ "requestedSchema": {
        "properties": { "a": { "type": "string" }, "b": { "type": "string" } }, "required": ["b"] } });
    let check = |answer: Value| check(&form, &allow(answer)).map_err(|misfit| misfit.field);
    assert_eq!(check(json!({ "a": "x" })), Err("b".to_owned()));
    assert_eq!(check(json!({ "b": "x", "c": 1 })), Err("c".to_owned()));
    assert_eq!(check(json!("x")), Ok(()));
}

#[test]
fn an_address_is_accepted_or_declined_and_nothing_else() {
    let agrees = |words: &str| consent(&allow(json!(words))).ok();
    assert_eq!(["Done.", "no", "later"].map(agrees), [Some(true), Some(false), None]);
    assert_eq!(consent(&Answer::Deny { message: String::new() }), Ok(false));
}

#[test]
fn words_that_are_json_are_the_fields_of_a_form() {
    let form = json!({ "requestedSchema": { "properties": {
        "a": { "type": "integer" }, "b": { "type": "string" } }, "required": ["a"] } });
    let content = |words: &str| Form::of(&form).content(&allow(json!(words)));
    assert_eq!(
        Value::from(content(r#"{"a": 1, "b": "x"}"#).unwrap().unwrap()),
        json!({ "a": 1, "b": "x" })
    );
    assert_eq!(content(r#"{"c": 1}"#).unwrap_err().field, "c");
    // One field of text takes any words.
    let one = json!({ "requestedSchema": { "properties": { "a": { "type": "string" } } } });
    let content = |words: &str| Form::of(&one).content(&allow(json!(words))).unwrap().unwrap();
    assert_eq!(Value::from(content(r#"{"c": 1}"#)), json!({ "a": r#"{"c": 1}"# }));
    assert_eq!(Value::from(content(r#"{"a": "x"}"#)), json!({ "a": "x" }));
}
