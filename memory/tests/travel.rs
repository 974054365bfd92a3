//! What the compiler says about types that cannot travel or be keys.

#[test]
fn types_that_cannot_travel_are_refused_in_the_words_of_the_engine() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/travel/*.rs");
}
