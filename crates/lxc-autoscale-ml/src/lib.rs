//! Learns how each container behaves, decides its size, explains why, and asks the API to act.
//!
//! In the order of the data: what was seen ([`observation`]), whether it is unusual ([`detect`]), what the
//! container should have ([`recommend`]) and how sure that is ([`confidence`]), what kind
//! of container it is ([`classes`]), which rules are in force for it ([`policy`]), what is done about it and why
//! ([`decide`]). All of these are pure.
//!
//! Around them: what is remembered of each container ([`history`], [`features`]), the way from the metrics
//! file to a decision ([`pipeline`]), from there to the API and into the ledger ([`execute`], [`act`],
//! [`ledger`]), and who goes these ways: the [`daemon`] and the [`commands`]. What is decided about a
//! recorded past, and what that would have cost: [`backtest`]. What Prometheus reads: [`exporter`].

pub mod act;
pub mod backtest;
pub mod capacity;
pub mod checkpoint;
pub mod classes;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod confidence;
pub mod config;
pub mod config_file;
pub mod daemon;
pub mod decide;
pub mod detect;
pub mod detect_command;
pub mod execute;
pub mod explain;
pub mod exporter;
pub mod features;
pub mod forecast;
pub mod guard;
pub mod history;
pub mod ledger;
mod median;
pub mod observation;
pub mod pipeline;
pub mod plan;
pub mod policy;
pub mod proposals;
pub mod recommend;
pub mod refusals;
pub mod regime;
pub mod replay;
pub mod report;
pub mod shadow;
pub mod stdio;
pub mod train_command;
pub mod trouble;
pub mod who;
