//! What commands print, compared with snapshots in `tests/cmd`.
//!
//! `TRYCMD=overwrite cargo test -p sealstone --test snapshots` renews them.

#[test]
fn commands_print_what_their_snapshots_say() {
    trycmd::TestCases::new().env("SEALSTONE_SOCKET", "/nonexistent/agent.sock").case("tests/cmd/*.trycmd");
}
