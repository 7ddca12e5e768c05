//! Proxmox's side of a node.
