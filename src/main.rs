//! Arguments, logging, runtime, dispatch.

fn main() {}
