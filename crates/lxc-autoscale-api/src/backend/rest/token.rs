//! The API token, which identifies this server to Proxmox.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;

use crate::config::CREDENTIALS_DIRECTORY;

/// Largest file that can hold a token.
const MAX_TOKEN_BYTES: u64 = 4096;

/// An API token of Proxmox, `user@realm!name=secret`; never shown in full.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why there is no usable token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the API token from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("`{}` holds the API token and can be read by others (mode {mode:04o}): `chmod 600` it, and replace the token", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds something else.
    #[error("`{}` must hold one line `user@realm!name=secret`, as `pveum user token add` shows it", path.display())]
    Form {
        /// The file.
        path: PathBuf,
    },
}

impl Token {
    /// Reads the token from a file that only its owner can read, or that systemd passed as a credential.
    ///
    /// # Errors
    /// [`TokenError`] if there is none, or others can read it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        Self::read_with(path, std::env::var_os(CREDENTIALS_DIRECTORY).as_deref().map(Path::new))
    }

    fn read_with(path: &Path, credentials: Option<&Path>) -> Result<Self, TokenError> {
        // For a service that does not run as root, systemd grants access to a credential by an access control list,
        // whose mask appears in place of the group's permissions. Nobody else can enter the directory of credentials.
        let is_credential = credentials.is_some_and(|directory| path.parent() == Some(directory));
        let forbidden = if is_credential { 0o037 } else { 0o077 };
        let path = || path.to_owned();
        let read = |source| TokenError::Read { path: path(), source };
        let found = std::fs::metadata(path()).map_err(read)?;
        if found.mode() & forbidden != 0 {
            return Err(TokenError::Open { path: path(), mode: found.mode() & 0o7777 });
        }
        if MAX_TOKEN_BYTES < found.size() {
            return Err(TokenError::Form { path: path() });
        }
        let text = std::fs::read_to_string(path()).map_err(read)?;
        Self::parse(text.trim()).ok_or_else(|| TokenError::Form { path: path() })
    }

    fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('=')?;
        let (user, name) = id.split_once('!')?;
        let (login, realm) = user.rsplit_once('@')?;
        let is_word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        let is_secret = secret.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let valid = is_word(login) && is_word(realm) && is_word(name) && !secret.is_empty() && is_secret;
        valid.then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Its name, `user@realm!name`, which is not secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user it belongs to.
    pub fn user(&self) -> &str {
        self.id.split_once('!').map_or(&self.id, |(user, _)| user)
    }

    /// The value of the `Authorization` header, marked as sensitive so that it is never shown.
    pub(super) fn header(&self) -> HeaderValue {
        let text = format!("PVEAPIToken={}={}", self.id, self.secret);
        // A token that was read holds only bytes that are allowed in a header.
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const TEXT: &str = "autoscale@pve!scaler=8a8e6a5e-0000-4000-8000-a0b1c2d3e4f5";

    fn read(text: &str, mode: u32) -> Result<Token, TokenError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Token::read(&path)
    }

    #[test]
    fn a_credential_shows_the_mask_of_its_list_where_a_group_stands() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxmox_token");
        fs::write(&path, TEXT).unwrap();
        for (mode, in_place, elsewhere) in [(0o400, true, true), (0o440, true, false), (0o444, false, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Token::read_with(&path, Some(directory.path())).is_ok(), in_place, "{mode:o}");
            assert_eq!(Token::read_with(&path, Some(Path::new("/run"))).is_ok(), elsewhere, "{mode:o}");
            assert_eq!(Token::read_with(&path, None).is_ok(), elsewhere, "{mode:o}");
        }
    }

    #[test]
    fn a_token_is_read_and_never_shown() {
        let token = read(&format!("{TEXT}\n"), 0o600).unwrap();
        assert_eq!((token.id(), token.user()), ("autoscale@pve!scaler", "autoscale@pve"));
        assert_eq!(token.header().to_str().unwrap(), format!("PVEAPIToken={TEXT}"));
        assert!(!format!("{token:?}").contains("8a8e"), "{token:?}");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o644] {
            let error = read(TEXT, mode).unwrap_err();
            assert!(matches!(error, TokenError::Open { mode: found, .. } if found == mode), "{error}");
        }
        assert!(read(TEXT, 0o400).is_ok());
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for bad in ["", "x", "root@pam=abc", "root@pam!a=", "root@pam!a=b c", "r\noot@pam!a=ab", "root!a=ab"]
        {
            let error = read(bad, 0o600).unwrap_err();
            assert!(matches!(error, TokenError::Form { .. }), "{bad:?}: {error}");
        }
    }
}
