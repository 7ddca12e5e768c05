//! Learns how each container behaves, decides its size, explains why, and asks the API to act.
//!
//! The modules in the order of the data: observations ([`observation`]), anomaly detection ([`detect`]), the
//! recommended size ([`recommend`]) and its confidence ([`confidence`]), the kind of container ([`classes`]), the rules
//! in force for it ([`policy`]), and the decision with its reasons ([`decide`]). All of these are pure.
//!
//! Around them: the state kept per container ([`history`], [`features`]), the path from the metrics file to a decision
//! ([`pipeline`]) and from there to the API and the ledger ([`execute`], [`act`], [`ledger`]), and their users: the
//! [`daemon`] and the [`commands`]. [`backtest`] replays a recorded past and tells what the decisions would have cost.
//! [`exporter`] serves Prometheus.

pub mod act;
pub mod backtest;
pub mod capacity;
pub mod checkpoint;
pub mod classes;
pub mod cli;
pub mod clock;
mod columns;
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
pub mod figures;
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
