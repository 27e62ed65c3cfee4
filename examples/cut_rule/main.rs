//! Measures where leaves should be cut and how they should be laid out; docs/decisions/0001-leaf-cut.md quotes it.
//!
//! `cargo run --release --example cut_rule [churn|layout|speed]`: all three without an argument. Deterministic
//! but for the times.

mod churn;
mod layout;
mod rule;
mod workload;

fn main() {
    let wanted = std::env::args().nth(1);
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    if wants("churn") {
        churn::measure();
    }
    if wants("layout") {
        layout::measure();
    }
    if wants("speed") {
        rule::measure_speed();
    }
}
