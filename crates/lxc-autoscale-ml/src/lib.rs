//! Learns how each container behaves, decides its size, explains why, and asks the API to act.
//!
//! In the order of the data: what was seen ([`observation`]), whether it is unusual ([`detect`]), what the
//! container should have ([`recommend`]), what is done about it and why ([`decide`]). All of these are pure.

pub mod decide;
pub mod detect;
pub mod observation;
pub mod recommend;
pub mod stdio;
