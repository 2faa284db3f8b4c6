//! The house rules as a test. Every message says what to do instead.
//!
//! Owns: the list of rules and the walk over the tree. Each rule is a plain function over text in
//! a file beside this one, with its own small bad inputs as tests, so that no rule is green only
//! because it looks at nothing.

mod layers;
mod papers;
mod shape;
mod source;
mod words;

use source::{Source, tree};

/// Run `rule` over every file and fail with all its findings.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let findings: Vec<String> = tree().iter().flat_map(rule).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_walk_sees_the_tree() {
    let files = tree();
    for path in ["Cargo.toml", "src/lib.rs", "tests/tidy/main.rs", "loadgen/Cargo.toml"] {
        assert!(files.iter().any(|file| file.path == path), "{path} was not seen");
    }
}

#[test]
fn imports_point_down() {
    check(layers::imports_point_down);
}

#[test]
fn every_folder_is_a_layer() {
    let files = tree();
    let findings = layers::every_folder_is_a_layer(&files);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn words_stay_in_their_rooms() {
    check(words::words_stay_in_their_rooms);
}

#[test]
fn no_foreign_test_sleeps() {
    check(words::no_foreign_test_sleeps);
}

#[test]
fn nothing_is_left_over() {
    check(words::nothing_is_left_over);
}

#[test]
fn no_workplace_is_named() {
    check(words::no_workplace_is_named);
}

#[test]
fn files_and_lines_are_short() {
    check(shape::files_and_lines_are_short);
}

#[test]
fn functions_are_short() {
    check(shape::functions_are_short);
}

#[test]
fn every_file_says_what_it_owns() {
    check(shape::every_file_says_what_it_owns);
}

#[test]
fn names_are_the_trades() {
    check(shape::names_are_the_trades);
}

#[test]
fn paths_that_are_mentioned_exist() {
    let files = tree();
    let findings = papers::paths_that_are_mentioned_exist(&files);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn routes_name_what_is_there() {
    let files = tree();
    let findings = papers::routes_name_what_is_there(&files);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_test_binary_is_listed() {
    let files = tree();
    let findings = papers::every_test_binary_is_listed(&files);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_setting_is_acted_on() {
    let files = tree();
    let findings = papers::every_setting_is_acted_on(&files);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn operations_names_every_setting_and_metric() {
    let files = tree();
    let page = files.iter().find(|file| file.path == "docs/OPERATIONS.md");
    let findings = papers::operations_is_complete(page.map_or("", |page| &page.text));
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
