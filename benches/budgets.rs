//! Benches behind the budgets of DESIGN.

fn main() {}
