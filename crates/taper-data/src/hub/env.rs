//! The environment variables for the hub, with the same meaning as in the client of Hugging Face.

use super::{ENDPOINT, HubOptions};
use crate::{DataError, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

impl HubOptions {
    /// Options from the environment variables:
    ///
    /// | variable | meaning | default |
    /// | --- | --- | --- |
    /// | `HF_ENDPOINT` | address of the hub | `https://huggingface.co` |
    /// | `HF_HUB_CACHE` | the cache folder | `HUGGINGFACE_HUB_CACHE`, else `$HF_HOME/hub` |
    /// | `HF_HOME` | folder of cache and token | `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` |
    /// | `HF_TOKEN` | access token | `HUGGING_FACE_HUB_TOKEN`, else the file `$HF_TOKEN_PATH`, else `$HF_HOME/token` |
    /// | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on` forbids requests | requests for files that are not cached |
    /// | `HF_HUB_ETAG_TIMEOUT` | [`Self::etag_timeout`] in whole seconds | 10 |
    /// | `HF_HUB_DOWNLOAD_TIMEOUT` | [`Self::download_timeout`] in whole seconds | 10 |
    ///
    /// In paths, `~` at the start is the home folder, and `$NAME` and `${NAME}` are replaced by variables; unknown
    /// variables are not replaced. Empty variables count as not set.
    ///
    /// # Errors
    /// [`DataError::Invalid`] if there is neither `HF_HOME` nor `HF_HUB_CACHE` nor a home folder, or if the value of a
    /// variable is invalid.
    pub fn from_env() -> Result<Self> {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        Environment { lookup: |name: &str| std::env::var_os(name), home }.options()
    }
}

struct Environment<F> {
    lookup: F,
    home: Option<PathBuf>,
}

impl<F: Fn(&str) -> Option<OsString>> Environment<F> {
    fn options(&self) -> Result<HubOptions> {
        let home = match self.path("HF_HOME")? {
            Some(home) => Some(home),
            None => match self.path("XDG_CACHE_HOME")? {
                Some(cache) => Some(cache.join("huggingface")),
                None => self.home.as_ref().map(|home| home.join(".cache").join("huggingface")),
            },
        };
        let cache = match self.path("HF_HUB_CACHE")? {
            Some(cache) => Some(cache),
            None => self.path("HUGGINGFACE_HUB_CACHE")?,
        };
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| {
            DataError::Invalid(
                "there is no home folder for the cache of fetched files; set HF_HOME to a folder"
                    .into(),
            )
        })?;
        let endpoint = self.text("HF_ENDPOINT")?.unwrap_or_else(|| ENDPOINT.to_owned());
        let token = match (self.text("HF_TOKEN")?, self.text("HUGGING_FACE_HUB_TOKEN")?) {
            (Some(token), _) | (None, Some(token)) => Some(token),
            (None, None) => {
                let file = self.path("HF_TOKEN_PATH")?.or_else(|| Some(home?.join("token")));
                // Without the file, there is no token.
                let text = file.and_then(|file| std::fs::read_to_string(file).ok());
                text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
            }
        };
        let offline = self
            .text("HF_HUB_OFFLINE")?
            .is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()));
        let defaults = HubOptions::new(endpoint.trim_end_matches('/'), cache);
        Ok(HubOptions {
            token,
            offline,
            etag_timeout: self.seconds("HF_HUB_ETAG_TIMEOUT")?.unwrap_or(defaults.etag_timeout),
            download_timeout: self
                .seconds("HF_HUB_DOWNLOAD_TIMEOUT")?
                .unwrap_or(defaults.download_timeout),
            ..defaults
        })
    }

    /// The value of a variable, without surrounding white space.
    fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = (self.lookup)(name) else { return Ok(None) };
        let value = value.into_string().map_err(|value| {
            DataError::Invalid(format!(
                "{name} is {value:?}, which is not UTF-8; set a UTF-8 value"
            ))
        })?;
        Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(seconds) if seconds > 0 => Ok(Some(Duration::from_secs(seconds.into()))),
            _ => Err(DataError::Invalid(format!(
                "{name} is `{text}`; it must be a whole number of seconds, 1 or more"
            ))),
        }
    }

    /// A path from a variable, with the home folder and other variables replaced.
    fn path(&self, name: &str) -> Result<Option<PathBuf>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let Some(rest) = text.strip_prefix('~') else {
            return Ok(Some(PathBuf::from(self.with_variables(&text))));
        };
        match &self.home {
            Some(home) if rest.is_empty() || rest.starts_with(std::path::is_separator) => {
                let rest = self.with_variables(rest.trim_start_matches(std::path::is_separator));
                // An empty rest would add a separator.
                Ok(Some(if rest.is_empty() { home.clone() } else { home.join(rest) }))
            }
            _ => Err(DataError::Invalid(format!(
                "{name} is `{text}`, but `~` must stand alone or before a slash, and needs a home folder; write the full path"
            ))),
        }
    }

    fn with_variables(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let (name, next) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
                Some(split) => split,
                None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
            };
            match (self.lookup)(name).and_then(|value| value.into_string().ok()) {
                Some(value) if !name.is_empty() => out.push_str(&value),
                _ => out.push_str(&rest[before.len()..rest.len() - next.len()]),
            }
            rest = next;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(vars: &[(&str, &str)], home: Option<&str>) -> Result<HubOptions> {
        let lookup = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        Environment { lookup, home: home.map(PathBuf::from) }.options()
    }

    fn cache(vars: &[(&str, &str)]) -> PathBuf {
        options(vars, Some("/home/me")).unwrap().cache_dir
    }

    #[test]
    fn options_come_from_the_environment() {
        let o = options(&[], Some("/nowhere/me")).unwrap();
        assert_eq!((o.endpoint.as_str(), o.token, o.offline), (ENDPOINT, None, false));
        assert_eq!(o.cache_dir, PathBuf::from("/nowhere/me/.cache/huggingface/hub"));
        assert_eq!(
            (o.etag_timeout, o.download_timeout),
            (Duration::from_secs(10), Duration::from_secs(10))
        );

        let o = options(
            &[
                ("HF_HOME", "/nowhere/h"),
                ("HF_ENDPOINT", "http://mirror/"),
                ("HF_HUB_OFFLINE", "1"),
                ("HF_HUB_ETAG_TIMEOUT", "3"),
                ("HF_HUB_DOWNLOAD_TIMEOUT", "70"),
            ],
            None,
        );
        let o = o.unwrap();
        assert_eq!((o.endpoint.as_str(), o.offline), ("http://mirror", true));
        assert_eq!(o.cache_dir, PathBuf::from("/nowhere/h/hub"));
        assert_eq!(
            (o.etag_timeout, o.download_timeout),
            (Duration::from_secs(3), Duration::from_secs(70))
        );

        let o =
            options(&[("HF_HOME", "/nowhere/h"), ("HF_HUB_CACHE", "/nowhere/c")], None).unwrap();
        assert_eq!(o.cache_dir, PathBuf::from("/nowhere/c"));
        assert!(options(&[("HF_HOME", "")], None).unwrap_err().to_string().contains("set HF_HOME"));
        for bad in ["0", "soon", "-1", "1.5"] {
            let message =
                options(&[("HF_HUB_ETAG_TIMEOUT", bad)], Some("/h")).unwrap_err().to_string();
            assert!(
                message.contains("HF_HUB_ETAG_TIMEOUT") && message.contains("1 or more"),
                "{message}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_are_expanded_as_in_the_client_of_hugging_face() {
        let at = |path: &str| PathBuf::from(path);
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), at("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "~/x")]), at("/home/me/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/h")]), at("/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), at("/home/me/hf/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "~")]), at("/home/me"));
        let disk = ("DISK", "/big");
        assert_eq!(cache(&[("HF_HUB_CACHE", "$DISK/hub"), disk]), at("/big/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "${DISK}2/$DISK"), disk]), at("/big2//big"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "~/$DISK"), ("DISK", "d")]), at("/home/me/d"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/a/$NO/${NO}/$/b$"), disk]), at("/a/$NO/${NO}/$/b$"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old")]), at("/old"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")]), at("/c"));
        let message = options(&[("HF_HOME", "~bob/hf")], Some("/home/me")).unwrap_err().to_string();
        assert!(
            message.contains("HF_HOME is `~bob/hf`") && message.contains("full path"),
            "{message}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let lookup = |name: &str| (name == "HF_HOME").then(|| OsString::from_vec(vec![b'/', 0xff]));
        let message = Environment { lookup, home: None }.options().unwrap_err().to_string();
        assert!(message.contains("HF_HOME") && message.contains("UTF-8"), "{message}");
    }

    #[test]
    fn tokens_come_from_the_variable_or_the_file_and_are_not_printed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("token"), " filed \n").unwrap();
        let path = home.path().to_str().unwrap();
        let token = |vars: &[(&str, &str)]| options(vars, None).unwrap().token;
        assert_eq!(token(&[("HF_HOME", path)]).as_deref(), Some("filed"));
        assert_eq!(token(&[("HF_HOME", path), ("HF_TOKEN", "given")]).as_deref(), Some("given"));
        let old = ("HUGGING_FACE_HUB_TOKEN", "old");
        assert_eq!(token(&[("HF_HOME", path), old]).as_deref(), Some("old"));
        assert_eq!(token(&[("HF_HOME", path), old, ("HF_TOKEN", "new")]).as_deref(), Some("new"));
        // The token stays in HF_HOME when the cache is elsewhere.
        assert_eq!(
            token(&[("HF_HOME", path), ("HF_HUB_CACHE", "/nowhere")]).as_deref(),
            Some("filed")
        );
        let file = format!("{path}/token");
        assert_eq!(
            token(&[("HF_HOME", "/nowhere"), ("HF_TOKEN_PATH", &file)]).as_deref(),
            Some("filed")
        );
        let shown = format!("{:?}", options(&[("HF_HOME", path)], None).unwrap());
        assert!(!shown.contains("filed"), "{shown}");
    }
}
