//! Following configuration files: whenever they change, and are at rest, they are synced whole.
//!
//! Files are looked at, not listened to: that works alike for editors that replace a file, for the links of a Kubernetes
//! config map and for network mounts. Invariant: a set of files is taken whole or refused whole; a refusal changes nothing
//! and is told once.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use openact_core::{
    Error, Result,
    limits::{CONFIG_BYTES_MAX, CONFIG_POLL, CONFIG_RETRY},
};
use tokio::time::Instant;

use crate::{
    OpenAct, Shared,
    plan::Plan,
    sync::{Source, SyncOptions, files_of},
};

/// Files that are followed. They are while somebody waits for [`Watch::next`].
pub struct Watch {
    openact: OpenAct,
    follower: Follower,
}

impl OpenAct {
    /// Syncs files and folders of files as [`OpenAct::sync`] does, and then whenever they change.
    pub async fn watch(&self, paths: &[PathBuf], options: &SyncOptions) -> Result<(Plan, Watch)> {
        let sources = paths.iter().cloned().map(Source::Path).collect();
        // Before they are read: what is changed meanwhile has changed since.
        let follower = Follower::new(sources, options.clone()).await;
        let plan = self.sync_sources(&follower.sources, &follower.options).await?;
        Ok((plan, Watch { openact: self.clone(), follower }))
    }

    /// Why the builder's files, which changed, were refused. Until they are mended, calls use what they said before.
    pub fn refused_files(&self) -> Option<Arc<Error>> {
        self.0.refused_files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watch {
    /// Waits until the files change the configuration, or are refused. A refusal is told once, until the files are mended or
    /// refused for another reason; mended files are told even if they change nothing. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Plan> {
        loop {
            self.follower.changed().await;
            if let Some(told) = self.follower.take(&self.openact).await {
                return told;
            }
        }
    }
}

/// Follows for as long as `openact` is there: the files of an embedder's builder.
pub(crate) async fn follow(openact: Weak<Shared>, mut follower: Follower) {
    loop {
        follower.changed().await;
        let Some(shared) = openact.upgrade() else { return };
        let refused = |error: Option<Arc<Error>>| {
            *shared.refused_files.lock().unwrap_or_else(PoisonError::into_inner) = error;
        };
        match follower.take(&OpenAct(shared.clone(), None)).await {
            Some(Ok(plan)) => {
                refused(None);
                for change in plan.changes.iter().filter(|change| change.is_one()) {
                    tracing::info!("configuration changed: {change}");
                }
            }
            Some(Err(error)) => {
                let place = error.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
                tracing::error!("changed configuration files were refused: {error}{place}");
                refused(Some(Arc::new(error)));
            }
            None => {}
        }
    }
}

/// See the module.
pub(crate) struct Follower {
    sources: Vec<Source>,
    options: SyncOptions,
    /// The files as they were when they were last taken or refused.
    seen: Arc<Look>,
    /// Why they were refused.
    refused: Option<String>,
    tried: Instant,
    /// They changed and have not been taken yet.
    due: bool,
}

impl Follower {
    pub(crate) async fn new(sources: Vec<Source>, options: SyncOptions) -> Self {
        let mut follower =
            Self { sources, options, seen: Arc::default(), refused: None, tried: Instant::now(), due: false };
        follower.seen = follower.look().await;
        follower
    }

    pub(crate) async fn sync(&self, openact: &OpenAct) -> Result<Plan> {
        openact.sync_sources(&self.sources, &self.options).await
    }

    /// Waits until the files are others than those last taken, and the same for two looks.
    async fn changed(&mut self) {
        let mut last: Option<Arc<Look>> = None;
        while !self.due {
            tokio::time::sleep(CONFIG_POLL).await;
            let now = self.look().await;
            if now.is(&self.seen) {
                last = None;
                self.due = self.refused.is_some() && self.tried.elapsed() >= CONFIG_RETRY;
            } else if last.replace(now.clone()).is_some_and(|last| last.is(&now)) {
                self.seen = now;
                self.due = true;
            }
        }
    }

    /// Syncs the files, and says what there is to tell.
    async fn take(&mut self, openact: &OpenAct) -> Option<Result<Plan>> {
        let result = self.sync(openact).await;
        self.due = false;
        self.tried = Instant::now();
        match result {
            Ok(plan) => {
                let mended = self.refused.take().is_some();
                (mended || !plan.is_empty()).then_some(Ok(plan))
            }
            Err(error) => {
                let reason = format!("{error} {:?}", error.place);
                let told = self.refused.replace(reason.clone()).is_some_and(|before| before == reason);
                (!told).then_some(Err(error))
            }
        }
    }

    /// Off the runtime's threads: a network mount may take its time.
    async fn look(&self) -> Arc<Look> {
        let paths: Vec<PathBuf> = self
            .sources
            .iter()
            .filter_map(|source| match source {
                Source::Path(path) => Some(path.clone()),
                Source::Text(..) => None,
            })
            .collect();
        let before = self.seen.clone();
        tokio::task::spawn_blocking(move || Arc::new(Look::at(&paths))).await.unwrap_or(before)
    }
}

/// How files look; `None` for one that cannot be read.
#[derive(Debug, Default)]
struct Look(BTreeMap<PathBuf, Option<Stamp>>);

/// How a file looks.
#[derive(Debug)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
    /// Of its content, while it is so young that another write might leave it with the same times.
    digest: Option<u64>,
}

/// The coarsest times of files that are in use are those of FAT and some network mounts: two seconds.
const COARSEST_TIME: Duration = Duration::from_secs(3);

impl Look {
    fn at(sources: &[PathBuf]) -> Self {
        let mut look = Self::default();
        for source in sources {
            match files_of(source) {
                Ok(files) => {
                    look.0.extend(files.into_iter().map(|file| (file.clone(), Stamp::of(&file).ok())))
                }
                Err(_) => {
                    look.0.insert(source.clone(), None);
                }
            }
        }
        look
    }

    fn is(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((path, stamp), (other_path, other))| {
                path == other_path
                    && match (stamp, other) {
                        (Some(stamp), Some(other)) => stamp.is(other),
                        (None, None) => true,
                        _ => false,
                    }
            })
    }
}

impl Stamp {
    /// Of what a link leads to.
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let modified = metadata.modified().ok();
        let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        let is_old = age.is_some_and(|age| age > COARSEST_TIME);
        let digest = match !is_old && metadata.len() <= CONFIG_BYTES_MAX {
            true => {
                let (mut hasher, mut bytes) = (DefaultHasher::new(), Vec::new());
                fs::File::open(path)?.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes)?;
                bytes.hash(&mut hasher);
                Some(hasher.finish())
            }
            false => None,
        };
        Ok(Self { modified, bytes: metadata.len(), inode: inode(&metadata), digest })
    }

    fn is(&self, other: &Self) -> bool {
        let same_digest = match (self.digest, other.digest) {
            (Some(digest), Some(other)) => digest == other,
            _ => true,
        };
        (self.modified, self.bytes, self.inode) == (other.modified, other.bytes, other.inode) && same_digest
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_told_once_for_each_reason() {
        let file = std::env::temp_dir().join(format!("openact-told-{}.json", uuid::Uuid::now_v7()));
        let openact = OpenAct::builder().without_cache().build().await.unwrap();
        let mut follower = Follower::new(vec![Source::Path(file.clone())], SyncOptions::default()).await;
        let mut told = async |content: Option<&str>| {
            if let Some(content) = content {
                fs::write(&file, content).unwrap();
            }
            follower.take(&openact).await.map(|told| told.is_ok())
        };
        assert_eq!(told(None).await, Some(false), "there is no file");
        assert_eq!(told(None).await, None);
        assert_eq!(told(Some("{")).await, Some(false), "another reason");
        assert_eq!(told(Some("{")).await, None);
        assert_eq!(told(Some(r#"{"connectors": {}}"#)).await, Some(true), "mended");
        assert_eq!(told(None).await, None, "nothing changed");
        assert_eq!(told(Some("{")).await, Some(false), "as before, but it was mended in between");
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_look_tells_every_way_of_changing_a_file() {
        let folder = std::env::temp_dir().join(format!("openact-look-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("a.yaml");
        let look = || Look::at(std::slice::from_ref(&folder));
        let mut before = look();
        let mut changed = |how: &str| {
            let now = look();
            assert!(!now.is(&before), "{how} is not seen: {now:?}");
            assert!(look().is(&now), "{how} is seen twice");
            before = now;
        };
        fs::write(&file, "a: 1").unwrap();
        changed("a new file");
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "a: 2").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        changed("the same length at the same time");
        fs::write(folder.join("new"), "a: 2").unwrap();
        fs::rename(folder.join("new"), &file).unwrap();
        changed("rename and replace");
        fs::rename(&file, folder.join("away")).unwrap();
        changed("a file that is gone");
        #[cfg(unix)]
        {
            assert!(Stamp::of(Path::new("/dev/null")).is_err(), "a device is no file");
            for version in ["one", "two"] {
                fs::create_dir(folder.join(format!("..{version}"))).unwrap();
                fs::write(folder.join(format!("..{version}/a.yaml")), version).unwrap();
            }
            std::os::unix::fs::symlink("..one", folder.join("..data")).unwrap();
            std::os::unix::fs::symlink("..data/a.yaml", &file).unwrap();
            changed("a link");
            std::os::unix::fs::symlink("..two", folder.join("..next")).unwrap();
            fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
            changed("a link on the way to a file");
        }
        fs::remove_dir_all(&folder).unwrap();
        changed("a folder that is gone");
    }
}
