#![no_main]

#[path = "../properties/monitor.rs"]
#[allow(dead_code, reason = "each target has one of the properties")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::alert_state(bytes));
