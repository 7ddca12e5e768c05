//! The bytes of the file.
