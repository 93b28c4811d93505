//! Fetching from a hub with faults: interrupted transfers, error responses, wrong data, or no hub at all. Either a
//! retry succeeds with the right bytes, or there is one clear error, and no partial file is ever used.

mod common;

use common::hub::{COMMIT, DEV, Fault, Hub};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use taper_data::{DataError, Dataset, FetchProgress, Fetched, HubOptions, OpenOptions, fetch_file};
use tempfile::TempDir;

const REPO: &str = "owner/set";
const FILE: &str = "sub/train.parquet";

/// A hub with one file of 100,000 bytes, and an empty cache.
struct Scene {
    hub: Hub,
    cache: TempDir,
    content: Vec<u8>,
    watch: Watch,
}

#[derive(Default)]
struct Watch {
    notes: Mutex<Vec<String>>,
    /// Announced size and bytes reported since the last start.
    transfer: Mutex<(u64, u64)>,
}

impl FetchProgress for Watch {
    fn start(&self, _: &str, total: u64) {
        *self.transfer.lock().unwrap() = (total, 0);
    }

    fn advance(&self, bytes: u64) {
        self.transfer.lock().unwrap().1 += bytes;
    }

    fn finish(&self) {}

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }
}

impl Scene {
    fn new(faults: &[Fault], forever: Option<Fault>) -> Self {
        let content: Vec<u8> =
            (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let hub = Hub::start(&[(FILE, &content)], faults, forever);
        Self { hub, cache: tempfile::tempdir().unwrap(), content, watch: Watch::default() }
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            backoff: Duration::from_millis(1),
            retries: 3,
            ..HubOptions::new(&self.hub.endpoint, self.cache.path())
        }
    }

    fn fetch(&self) -> Result<Fetched, DataError> {
        self.fetch_with(&self.options())
    }

    fn fetch_with(&self, options: &HubOptions) -> Result<Fetched, DataError> {
        fetch_file(REPO, FILE, options, &self.watch)
    }

    /// Short time-outs for a hub that sends nothing, and enough retries for time-outs because of a busy machine.
    fn impatient(&self) -> HubOptions {
        let timeout = Duration::from_millis(200);
        HubOptions {
            etag_timeout: timeout,
            download_timeout: timeout,
            retries: 9,
            ..self.options()
        }
    }

    /// Fetches the file, and checks its content, the progress, and that all faults have happened.
    fn succeeds(&self) -> PathBuf {
        self.succeeds_with(&self.options())
    }

    fn succeeds_with(&self, options: &HubOptions) -> PathBuf {
        let Fetched { filename, path, commit, sha256 } = self.fetch_with(options).unwrap();
        assert_eq!((filename.as_str(), commit.as_str()), (FILE, COMMIT));
        assert_eq!(sha256, digest(&self.content));
        assert_eq!(std::fs::read(&path).unwrap(), self.content);
        assert_eq!(self.hub.faults_left(), 0, "not every fault happened");
        let (total, arrived) = *self.watch.transfer.lock().unwrap();
        assert_eq!((total, arrived), (100_000, 100_000));
        path
    }

    /// Checks that fetching fails with an error that names the address, and that no usable file remains. Returns the
    /// message.
    fn fails(&self) -> String {
        self.fails_with(&self.options())
    }

    fn fails_with(&self, options: &HubOptions) -> String {
        let error = self.fetch_with(options).unwrap_err();
        let DataError::Fetch { url, remedy, .. } = &error else { panic!("{error}") };
        assert_eq!(*url, format!("{}/datasets/{REPO}/resolve/main/{FILE}", self.hub.endpoint));
        assert!(!remedy.is_empty());
        self.nothing_usable();
        error.to_string()
    }

    /// Checks that there are no links, and no blobs except partial ones.
    fn nothing_usable(&self) {
        for entry in files(&self.repo_dir().join("blobs"))
            .into_iter()
            .chain(files(&self.repo_dir().join("snapshots")))
        {
            let extension = entry.extension().and_then(|e| e.to_str());
            assert!(
                matches!(extension, Some("part" | "lock")),
                "{} was left behind",
                entry.display()
            );
        }
    }

    fn repo_dir(&self) -> PathBuf {
        self.cache.path().join("datasets--owner--set")
    }

    fn blob(&self) -> PathBuf {
        self.repo_dir().join("blobs").join(digest(&self.content))
    }

    fn leave_part(&self, bytes: &[u8]) {
        std::fs::create_dir_all(self.repo_dir().join("blobs")).unwrap();
        std::fs::write(self.blob().with_extension("part"), bytes).unwrap();
    }

    fn notes(&self) -> String {
        self.watch.notes.lock().unwrap().join("\n")
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The address of a port that is not in use.
fn unused_endpoint() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{free}")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flat_map(|e| {
            let path = e.unwrap().path();
            if path.is_dir() { files(&path) } else { vec![path] }
        })
        .collect()
}

#[test]
fn a_cached_file_needs_no_hub() {
    let scene = Scene::new(&[], None);
    let path = scene.succeeds();
    assert_eq!(path, scene.repo_dir().join("snapshots").join(COMMIT).join(FILE));
    assert!(scene.blob().is_file());
    assert!(!scene.hub.take_log().is_empty());
    assert_eq!(scene.fetch().unwrap().path, path);
    assert_eq!(scene.hub.take_log(), [""; 0], "a cached file must cause no request");
    // The cached file is not hashed again.
    assert_eq!(scene.notes().matches("checking").count(), 1);
    let nowhere =
        HubOptions { offline: true, ..HubOptions::new("http://127.0.0.1:1", scene.cache.path()) };
    assert_eq!(scene.fetch_with(&nowhere).unwrap().path, path);
}

#[test]
fn an_interrupted_transfer_is_resumed() {
    let scene = Scene::new(&[Fault::BreakAfter(30_000), Fault::BreakAfter(20_000)], None);
    scene.succeeds();
    let log = scene.hub.take_log();
    let starts: Vec<&str> = log
        .iter()
        .filter_map(|l| l.strip_prefix("/storage/sub/train.parquet "))
        .filter(|r| r.ends_with('-'))
        .collect();
    assert_eq!(starts, ["0-", "30000-", "50000-"], "{log:?}");
}

#[test]
fn a_transfer_that_is_always_interrupted_is_an_error() {
    let scene = Scene::new(&[], Some(Fault::BreakAfter(10)));
    let message = scene.fails();
    assert!(message.contains("interrupted") && message.contains("tried 4 times"), "{message}");
    // The received bytes are kept for the next attempt.
    assert_eq!(std::fs::read(scene.blob().with_extension("part")).unwrap(), scene.content[..40]);
}

#[test]
fn a_retry_waits_for_the_time_that_the_hub_requests() {
    let scene = Scene::new(&[Fault::Status(429, "Retry-After: 1\r\n")], None);
    scene.succeeds();
    assert!(
        scene.notes().contains("429")
            && scene.notes().contains("trying again in 1s, as the hub requests"),
        "{}",
        scene.notes()
    );
}

#[test]
fn an_overloaded_hub_is_tried_again() {
    let scene = Scene::new(&[Fault::Status(429, ""), Fault::Status(429, "")], None);
    scene.succeeds();
    let scene = Scene::new(&[Fault::Status(429, "")], None);
    scene.succeeds();
}

#[test]
fn a_hub_that_requests_a_long_wait_is_not_tried_again() {
    let scene = Scene::new(&[], Some(Fault::Status(429, "Retry-After: 86400\r\n")));
    let message = scene.fails();
    assert!(message.contains("wait 86400 s"), "{message}");
    assert_eq!(scene.hub.take_log().len(), 1);
}

#[test]
fn a_hub_with_server_errors_is_tried_again() {
    let scene =
        Scene::new(&[Fault::Status(500, ""), Fault::Status(503, ""), Fault::Status(502, "")], None);
    scene.succeeds();
}

#[test]
fn permanent_server_errors_are_an_error() {
    let scene = Scene::new(&[], Some(Fault::Status(500, "")));
    let message = scene.fails();
    assert!(message.contains("status 500") && message.contains("tried 4 times"), "{message}");
    assert_eq!(scene.hub.take_log().len(), 4);
}

#[test]
fn errors_that_a_retry_cannot_fix_are_not_retried() {
    for (status, word) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "HF_ENDPOINT")] {
        let scene = Scene::new(&[], Some(Fault::Status(status, "")));
        let message = scene.fails();
        assert!(message.contains(&status.to_string()) && message.contains(word), "{message}");
        assert_eq!(scene.hub.take_log().len(), 1);
    }
}

#[test]
fn a_wrong_size_is_never_accepted() {
    for by in [-1, 1, 5000] {
        let scene = Scene::new(&[Fault::SizeOff(by)], None);
        scene.succeeds();

        let scene = Scene::new(&[], Some(Fault::SizeOff(by)));
        let message = scene.fails();
        assert!(
            message.contains("100000 bytes") && message.contains(&(100_000 + by).to_string()),
            "{message}"
        );
    }
}

#[test]
fn a_corrupt_file_is_fetched_once_more() {
    let scene = Scene::new(&[Fault::Corrupt], None);
    scene.succeeds();
    assert!(
        scene.notes().contains("corrupt") && scene.notes().contains("fetching it again"),
        "{}",
        scene.notes()
    );
}

#[test]
fn a_file_that_is_corrupt_twice_is_an_error() {
    let scene = Scene::new(&[], Some(Fault::Corrupt));
    let message = scene.fails();
    assert!(message.contains("corrupt twice") && message.contains("SHA-256"), "{message}");
}

#[test]
fn a_missing_hub_is_an_error() {
    let mut scene = Scene::new(&[], None);
    scene.hub.endpoint = unused_endpoint();
    let message = scene.fails();
    assert!(message.contains("no response") && message.contains("check the network"), "{message}");
}

#[test]
fn an_invalid_endpoint_is_an_error() {
    let cache = tempfile::tempdir().unwrap();
    for endpoint in ["", "not an address", "http://"] {
        let options =
            HubOptions { backoff: Duration::ZERO, ..HubOptions::new(endpoint, cache.path()) };
        let message = fetch_file(REPO, FILE, &options, &Watch::default()).unwrap_err().to_string();
        assert!(message.contains("HF_ENDPOINT"), "{message}");
    }
}

#[test]
fn old_partial_files_do_no_harm() {
    // Garbage that is shorter than the file, as long, or longer; and then a valid beginning.
    for n in [1, 1000, 99_999, 100_000, 200_000] {
        let scene = Scene::new(&[], None);
        scene.leave_part(&vec![0xAA; n]);
        scene.succeeds();
    }
    let scene = Scene::new(&[], None);
    scene.leave_part(&scene.content[..60_000]);
    scene.succeeds();
    assert!(!scene.notes().contains("corrupt"), "{}", scene.notes());
    assert!(scene.hub.take_log().iter().any(|l| l.ends_with(" 60000-")));
}

#[test]
fn a_hub_that_cannot_resume_does_no_harm() {
    for fault in [Fault::IgnoreRange, Fault::NoSuchBytes] {
        let scene = Scene::new(&[Fault::BreakAfter(500)], Some(fault));
        scene.succeeds();
        assert!(!scene.notes().contains("corrupt"), "{}", scene.notes());
    }
}

#[test]
fn damaged_files_in_the_cache_are_detected_and_replaced() {
    let scene = Scene::new(&[], None);
    let path = scene.succeeds();
    for damage in [&scene.content[..99], &[0xAA; 100_000]] {
        std::fs::write(scene.blob(), damage).unwrap();
        assert_eq!(scene.succeeds(), path);
    }
    // A link without a blob.
    std::fs::remove_file(scene.blob()).unwrap();
    assert_eq!(scene.succeeds(), path);
}

#[test]
fn a_damaged_file_without_a_replacement_is_neither_used_nor_deleted() {
    let mut scene = Scene::new(&[], None);
    let path = scene.succeeds();
    std::fs::write(scene.blob(), "half").unwrap();
    let offline = HubOptions { offline: true, ..scene.options() };
    let message = scene.fetch_with(&offline).unwrap_err().to_string();
    assert!(
        message.contains("HF_HUB_OFFLINE") && message.contains("the cached file is corrupt"),
        "{message}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"half");
    // The same if the hub cannot be reached.
    let there = std::mem::replace(&mut scene.hub.endpoint, unused_endpoint());
    let message = scene.fetch().unwrap_err().to_string();
    assert!(message.contains("no response"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), b"half");
    scene.hub.endpoint = there;
    scene.succeeds();
}

#[test]
fn a_copy_instead_of_a_link_is_also_checked_and_replaced() {
    let scene = Scene::new(&[], None);
    let path = scene.succeeds();
    // A cache on a file system without links.
    std::fs::remove_file(&path).unwrap();
    std::fs::copy(scene.blob(), &path).unwrap();
    scene.hub.take_log();
    assert_eq!(scene.fetch().unwrap().path, path);
    std::fs::write(&path, "half").unwrap();
    // The blob still has the content, so there is only a metadata request.
    let fetched = scene.fetch().unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), scene.content);
    assert_eq!(scene.hub.take_log().len(), 1);
    assert!(scene.notes().contains("the cached file is corrupt"), "{}", scene.notes());
}

#[test]
fn a_file_without_a_digest_is_compared_with_its_first_download() {
    for ranges in [true, false] {
        let direct = Some(Fault::Direct { etag: "0c3a", ranges });
        let scene = Scene::new(&[], direct.clone());
        let path = scene.succeeds();
        let blob = scene.repo_dir().join("blobs/0c3a");
        std::fs::write(&blob, "half").unwrap();
        assert_eq!(scene.succeeds(), path);
        // Another hub has other content for the same commit.
        std::fs::write(&blob, "half").unwrap();
        let other = Hub::start(&[(FILE, b"other")], &[], direct);
        let options = HubOptions { endpoint: other.endpoint, ..scene.options() };
        let message = scene.fetch_with(&options).unwrap_err().to_string();
        assert!(
            message.contains("corrupt twice") && message.contains(&digest(&scene.content)),
            "{message}"
        );
    }
}

#[test]
fn a_weak_etag_is_accepted() {
    let scene = Scene::new(&[], Some(Fault::WeakETag));
    scene.succeeds();
    assert!(scene.blob().is_file());
}

#[test]
fn a_loop_of_redirects_ends_after_ten() {
    let here = || Fault::Moved(String::new());
    let scene = Scene::new(&[], Some(here()));
    let message = scene.fails();
    assert!(
        message.contains("redirects more than 10 times") && message.contains("tried 4 times"),
        "{message}"
    );
    assert_eq!(scene.hub.take_log().len(), 4 * 11);

    let scene = Scene::new(&vec![here(); 10], None);
    scene.succeeds();
    assert!(!scene.notes().contains("trying again"), "{}", scene.notes());
}

#[test]
fn a_hub_that_sends_no_data_is_tried_again() {
    let scene = Scene::new(&[Fault::Hang, Fault::Stall(30_000), Fault::Hang], None);
    scene.succeeds_with(&scene.impatient());
    let notes = scene.notes();
    assert!(notes.contains("the hub sent no data for 200ms; trying again"), "{notes}");
    let log = scene.hub.take_log();
    assert!(log.iter().any(|line| line.ends_with(" 30000-")), "received bytes are kept: {log:?}");
}

#[test]
fn a_hub_that_never_sends_data_is_an_error() {
    for fault in [Fault::Hang, Fault::Stall(10)] {
        let scene = Scene::new(&[], Some(fault));
        let message = scene.fails_with(&HubOptions { retries: 2, ..scene.impatient() });
        assert!(
            message.contains("no data for 200ms") && message.contains("tried 3 times"),
            "{message}"
        );
    }
}

#[test]
fn a_redirect_to_another_host_is_followed_without_the_token() {
    let scene = Scene::new(&[], None);
    let old = Hub::start(&[], &[], Some(Fault::Moved(scene.hub.endpoint.clone())));
    let options = HubOptions {
        endpoint: old.endpoint.clone(),
        token: Some("hf_secret".into()),
        ..scene.options()
    };
    let fetched = scene.fetch_with(&options).unwrap();
    assert_eq!(std::fs::read(fetched.path).unwrap(), scene.content);
    let (old, new) = (old.take_log(), scene.hub.take_log());
    assert!(
        !old.is_empty() && old.iter().all(|line| line.ends_with("bearer hf_secret")),
        "{old:?}"
    );
    assert!(!new.is_empty() && new.iter().all(|line| !line.contains("hf_secret")), "{new:?}");
}

#[test]
fn a_token_with_a_stray_character_is_an_error_before_any_request() {
    let scene = Scene::new(&[], None);
    let options = HubOptions { token: Some("hf_a\nb".into()), ..scene.options() };
    let message = scene.fails_with(&options);
    assert!(message.contains("a line break as character 5"), "{message}");
    assert!(!message.contains("hf_a") && scene.hub.take_log().is_empty());
    // A cached file needs no token.
    scene.succeeds();
    scene.fetch_with(&options).unwrap();
}

#[test]
fn a_revision_is_fetched_by_name_and_found_by_commit() {
    let other = format!("dev:{FILE}");
    let hub = Hub::start(&[(FILE, b"main"), (&other, b"dev")], &[], None);
    let cache = tempfile::tempdir().unwrap();
    let options = HubOptions { retries: 0, ..HubOptions::new(&hub.endpoint, cache.path()) };
    let fetch = |repo: &str| fetch_file(repo, FILE, &options, &Watch::default());
    for (revision, commit, content) in [("dev", DEV, "dev"), ("main", COMMIT, "main")] {
        let fetched = fetch(&format!("{REPO}@{revision}")).unwrap();
        assert_eq!((fetched.commit.as_str(), fetched.sha256), (commit, digest(content.as_bytes())));
        assert_eq!(std::fs::read_to_string(&fetched.path).unwrap(), content);
        hub.take_log();
        assert_eq!(fetch(&format!("{REPO}@{commit}")).unwrap().path, fetched.path);
        assert_eq!(hub.take_log(), [""; 0]);
    }
    assert_eq!(fetch(REPO).unwrap().commit, COMMIT);
    // With an empty cache, by commit.
    let options = HubOptions { cache_dir: cache.path().join("other"), ..options.clone() };
    let fetched = fetch_file(&format!("{REPO}@{DEV}"), FILE, &options, &Watch::default()).unwrap();
    assert_eq!(std::fs::read_to_string(fetched.path).unwrap(), "dev");

    let message = fetch(&format!("{REPO}@none")).unwrap_err().to_string();
    assert!(message.contains("status 404") && message.contains("revision `none`"), "{message}");
    for bad in ["", "../x", "a b"] {
        let error = fetch(&format!("{REPO}@{bad}")).unwrap_err();
        assert!(matches!(error, DataError::Invalid(_)), "{error}");
    }
}

#[test]
fn names_from_the_hub_cannot_refer_to_paths_outside_the_cache() {
    for etag in ["../../escape", "", "a/b", ".."] {
        let scene = Scene::new(&[], Some(Fault::ETag(etag)));
        let message = scene.fails();
        assert!(message.contains("invalid ETag"), "{message}");
        let scene = Scene::new(&[], Some(Fault::Commit(etag)));
        let message = scene.fails();
        assert!(message.contains("invalid commit"), "{message}");
    }
}

#[test]
fn another_commit_than_the_requested_one_is_an_error() {
    let scene = Scene::new(&[], Some(Fault::Commit(DEV)));
    let repo = format!("{REPO}@{COMMIT}");
    let error = fetch_file(&repo, FILE, &scene.options(), &scene.watch).unwrap_err().to_string();
    assert!(error.contains(&format!("returned commit {DEV}")), "{error}");
    scene.nothing_usable();
}

#[test]
fn a_fetch_waits_for_another_process_with_the_same_file() {
    let scene = Scene::new(&[], None);
    let blob = scene.blob();
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let lock = std::fs::File::create(blob.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| scene.fetch().unwrap());
        while !scene.notes().contains("another process is fetching it") {
            std::thread::yield_now();
        }
        // The other process finishes.
        std::fs::write(&blob, &scene.content).unwrap();
        drop(lock);
        assert_eq!(std::fs::read(fetch.join().unwrap().path).unwrap(), scene.content);
    });
    assert!(scene.hub.take_log().iter().all(|line| !line.starts_with("/storage/")));
}

#[test]
fn the_token_is_sent() {
    let scene = Scene::new(&[], None);
    let options = HubOptions { token: Some("hf_secret".into()), ..scene.options() };
    fetch_file(REPO, FILE, &options, &scene.watch).unwrap();
    let log = scene.hub.take_log();
    assert!(
        log.iter().all(|l| !l.starts_with("/datasets/") || l.ends_with("bearer hf_secret")),
        "{log:?}"
    );
    assert!(!format!("{:?}", options).contains("secret"));
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error() {
    let scene = Scene::new(&[], None);
    // A file instead of the cache folder is an error for every user, including root.
    let blocked = scene.cache.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let options = HubOptions { cache_dir: blocked, ..scene.options() };
    let message = fetch_file(REPO, FILE, &options, &scene.watch).unwrap_err().to_string();
    assert!(message.contains("cache folder"), "{message}");
}

#[test]
fn a_data_set_opens_despite_faults_and_then_offline() {
    let train = common::parquet_file(&[&common::rows(true, 0, 150)], true, true);
    let test = common::parquet_file(&[&common::rows(true, 150, 20)], true, false);
    let files = [
        ("cifar100/train-00000-of-00001.parquet", &train[..]),
        ("cifar100/test-00000-of-00001.parquet", &test[..]),
    ];
    let faults = [Fault::Status(500, ""), Fault::BreakAfter(1000), Fault::Corrupt];
    let hub = Hub::start(&files, &faults, None);
    let cache = tempfile::tempdir().unwrap();
    let here =
        HubOptions { backoff: Duration::ZERO, ..HubOptions::new(&hub.endpoint, cache.path()) };
    let options = OpenOptions { hub: Some(here.clone()), ..Default::default() };
    let data = Dataset::open("cifar100", &options).unwrap();
    assert_eq!((data.train.len(), data.test.len(), hub.faults_left()), (150, 20, 0));
    assert_eq!(data.train.image(3).unwrap(), common::planes(3));
    assert_eq!(data.test.labels()[0], 50);
    assert_eq!(data.origin.name, format!("cifar100@{COMMIT}"));
    assert_eq!(data.origin.commit(), Some(COMMIT));
    assert_eq!(data.origin.files[0].sha256, digest(&train));
    // The second part is requested by the commit of the first.
    let log = hub.take_log();
    let by_commit = format!("/resolve/{COMMIT}/cifar100/test-");
    assert!(log.iter().any(|line| line.contains(&by_commit)), "{log:?}");

    hub.take_log();
    let offline =
        OpenOptions { hub: Some(HubOptions { offline: true, ..here }), ..Default::default() };
    assert_eq!(Dataset::open("cifar100", &offline).unwrap().fingerprint, data.fingerprint);
    assert_eq!(Dataset::fetch("cifar100", &offline).unwrap().len(), 2);
    let again = Dataset::open(&data.origin.name, &offline).unwrap();
    assert_eq!((again.fingerprint, again.origin), (data.fingerprint, data.origin));
    assert_eq!(hub.take_log(), [""; 0]);
    let missing = Dataset::open("cifar10", &offline).unwrap_err().to_string();
    assert!(missing.contains("not cached") && missing.contains("uoft-cs/cifar10"), "{missing}");
}
