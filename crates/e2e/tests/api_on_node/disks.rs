//! Disks: whether one has grown completely, and what a removal shows of them first.

use std::fs;

use serde_json::{Value, json};

use crate::node::{BackEnd, Node};

const BACK_ENDS: [BackEnd; 2] = [BackEnd::Pct, BackEnd::Rest];

/// Proxmox treats this as a success, and its task ends well.
#[test]
fn a_volume_that_grows_without_its_file_system_is_told() {
    for back_end in BACK_ENDS {
        let node = Node::start(back_end);
        let body = r#"{"vm_id": 104, "disk_size": 1}"#;
        for grows in [true, false] {
            node.proxmox.set("filesystems_grow", grows);
            let before = node.config(104).rootfs_mb.unwrap().get();
            let answer = node.post("/scale/storage/increase", body);
            let data = &answer["data"];
            assert_eq!((&answer["status"], &data["filesystem_grown"]), (&json!("success"), &json!(grows)));
            assert_eq!(data["after"], before + 1024, "{back_end:?}: {answer}");
            let message = answer["message"].as_str().unwrap();
            assert_eq!(message.contains("has NOT grown"), !grows, "{back_end:?}: {message}");
        }
    }
}

/// If any part of its configuration has changed since, a container is shown again, with its disks.
#[test]
fn a_removal_is_confirmed_for_the_disks_that_were_shown() {
    for back_end in BACK_ENDS {
        let node = Node::start_with(back_end, "[limits]\ndestroy_any_container = true");
        node.proxmox.succeed("pct stop 104");
        let remove = |confirmation: &Value| {
            let body = json!({"vm_id": 104, "any_container": true, "confirmation": confirmation});
            let json = r#"-H "Content-Type: application/json""#;
            node.ask(&format!("curl -X DELETE http://proxmox:5000/clone/delete {json} -d '{body}'"))
        };
        let first = remove(&Value::Null);
        let shown = &first["data"];
        let root = &shown["volumes"][0];
        assert_eq!((&root["name"], &root["volume"]), (&json!("rootfs"), &json!("local-lvm:vm-104-disk-0")));
        let text = fs::read_to_string(node.config_path(104)).unwrap();
        let disk = "mp0: local-lvm:vm-104-disk-7,mp=/srv/customers,size=2T\n";
        fs::write(node.config_path(104), format!("{disk}{text}")).unwrap();
        let again = remove(&shown["confirmation"]);
        assert_eq!(again["code"], "confirmation_needed", "{back_end:?}: {again}");
        let volumes = again["data"]["volumes"].as_array().unwrap();
        let added = volumes.iter().find(|volume| volume["name"] == "mp0").unwrap();
        assert_eq!((&added["path"], &added["size_mb"]), (&json!("/srv/customers"), &json!(2 << 20)));
        assert!(again["message"].as_str().unwrap().contains("mp0 at /srv/customers 2097152 MiB"), "{again}");
        // The parts that are not shown count as well.
        fs::write(node.config_path(104), text.replace("hostname:", "nameserver: 10.0.0.1\nhostname:"))
            .unwrap();
        let third = remove(&again["data"]["confirmation"]);
        assert_eq!(third["code"], "confirmation_needed", "{back_end:?}: {third}");
        let gone = remove(&third["data"]["confirmation"]);
        assert_eq!(gone["status"], "success", "{back_end:?}: {gone}");
        assert!(!node.config_path(104).exists());
    }
}
