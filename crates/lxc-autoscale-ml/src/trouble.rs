//! Logs a trouble once when it begins, once when it changes, and once when it is over.

/// One thing that can be in trouble, such as the metrics file or the API.
#[derive(Debug)]
pub struct Trouble {
    name: &'static str,
    current: Option<String>,
}

impl Trouble {
    /// No trouble with `name` yet.
    pub fn none(name: &'static str) -> Self {
        Self { name, current: None }
    }

    /// Sets the trouble; logged unless it is the same as before. Returns whether it is new.
    pub fn is(&mut self, message: String) -> bool {
        if self.current.as_deref() == Some(&message) {
            return false;
        }
        tracing::warn!("{message}; waiting");
        self.current = Some(message);
        true
    }

    /// Clears the trouble; logged if there was one.
    pub fn is_over(&mut self) {
        if self.current.take().is_some() {
            tracing::info!("{} is back", self.name);
        }
    }

    /// The present trouble.
    pub fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_once() {
        let mut trouble = Trouble::none("the API");
        assert!(trouble.is("the API is down".to_owned()));
        assert!(!trouble.is("the API is down".to_owned()));
        assert!(trouble.is("the API is slow".to_owned()));
        assert_eq!(trouble.current(), Some("the API is slow"));
        trouble.is_over();
        assert_eq!(trouble.current(), None);
        assert!(trouble.is("the API is down".to_owned()));
    }
}
