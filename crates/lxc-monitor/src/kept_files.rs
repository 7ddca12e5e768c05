//! Files that are read in every cycle, kept open from one to the next.
//!
//! Opening, reading and closing a kernel file costs two to three times what reading an open one costs, because
//! most of it is finding the way from the root of the file system. So files of the kernel are kept open and read with
//! `pread` into one buffer. What the kernel makes up at each read cannot be stale: a handle to the file of a
//! control group that was removed, or of a process that ended, gives an error, and the file is opened anew once.
//! A file on any other file system may be replaced behind an open handle, and is opened each time.
//!
//! Each handle costs the kernel memory (a buffer of a page among it) that is charged to the monitor's own control group
//! and cannot be taken back under pressure. So their number has a bound, a [`HandleBudget`] shared by all, in which the files of every
//! look come first; beyond it files are opened each time, which is slower and gives the same.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags, fstat, fstatfs, stat};
use rustix::io::pread;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::kernel_file::{MAX_BYTES, ReadError, Unexpected, open, text_of};

/// File systems whose files are made at each read: cgroup, cgroup2, proc, sysfs (`linux/magic.h`).
const MADE_AT_EACH_READ: [u64; 4] = [0x0027_e0eb, 0x6367_7270, 0x9fa0, 0x6265_6572];
/// Handles that are left for everything else: the log, the exchange file, sockets.
const OTHER_HANDLES: u64 = 256;
/// Handles kept at most, whatever the system allows; enough for nearly all files of 1,000 containers.
const MAX_HANDLES: u64 = 20_480;
/// What one costs the kernel: a page for what is read (`seq_read_iter`), the open file, and what cgroup and PSI keep of it.
const HANDLE_BYTES: u64 = 5 << 10;
/// Part of the memory the monitor may have that handles may take in any case.
const MEMORY_PARTS: u64 = 3;
/// What is left of a larger memory for all else: the monitor's own and the page cache, in which its program runs and its files
/// are written.
const OTHER_BYTES: u64 = 24 << 20;
/// The same for each container: its part of the heap is 5 KiB, and a snapshot is written in pieces.
const OTHER_BYTES_PER_CONTAINER: u64 = 8 << 10;
/// Files of a container that are read at each look: those of its groups, and what shows that its init still runs.
const FILES_OF_EVERY_LOOK: u64 = 8;
/// All files of a container that are kept, and the directories: two and twenty-one, and a few where there are inner groups.
const FILES_AND_DIRECTORIES: u64 = 24;
/// More than any file holds that is read in every cycle, usually.
const FIRST_BUFFER_BYTES: usize = 8 << 10;
/// A buffer that has grown beyond this is not kept: the table of sockets of a thousand containers takes 256 KiB, and is read once in a
/// cycle.
const LARGEST_KEPT_BUFFER_BYTES: usize = 64 << 10;
/// A list that comes in pieces fills a page (4096 bytes at least) with each but the last, less the one record for
/// which there was no more room (`seq_read_iter` of the kernel), so a piece below this is the last.
const LAST_PIECE_BYTES: usize = 2048;

thread_local! {
    /// Taken for the time of a read, so that not every read asks for memory.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How many handles may be kept, all containers together.
#[derive(Debug)]
pub struct HandleBudget {
    bounds: HandleBounds,
    /// How many there are for the containers that there are.
    total: AtomicU64,
    taken: AtomicU64,
    /// Those of them that are for files of every look.
    taken_often: AtomicU64,
    /// Those that such files may want.
    wanted_often: AtomicU64,
    /// Those of them that nobody wants: of containers that were looked at and have fewer such files.
    unwanted_often: AtomicU64,
    /// What all containers together may want.
    plenty: AtomicU64,
}

/// What bounds the number of handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleBounds {
    /// How many the system allows.
    most: u64,
    /// The memory this process may have, in bytes.
    memory_bytes: Option<u64>,
}

impl HandleBounds {
    /// How many there may be: a part of the memory, or, of a larger one, all but what the rest of so many containers needs.
    fn total(self, containers: Option<u64>) -> u64 {
        let Some(bytes) = self.memory_bytes else { return self.most };
        let rest = containers.map_or(u64::MAX, |containers| {
            containers.saturating_mul(OTHER_BYTES_PER_CONTAINER).saturating_add(OTHER_BYTES)
        });
        let affordable = (bytes / MEMORY_PARTS).max(bytes.saturating_sub(rest)) / HANDLE_BYTES;
        affordable.min(self.most)
    }
}

/// How often a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cadence {
    /// At each look.
    Often,
    /// At full looks.
    Seldom,
    /// At full looks, and only to see whether a directory is as it was: without a handle that takes a twentieth of the time of
    /// those looks, and a handle for one of their files spares more.
    OfDirectory,
}

impl HandleBudget {
    /// As many as the system allows this process, which may have `memory_bytes`, up to a bound; raises the process's own limit
    /// first.
    pub fn of_process(memory_bytes: Option<u64>) -> Arc<Self> {
        let affordable = memory_bytes.map_or(MAX_HANDLES, |bytes| bytes / HANDLE_BYTES);
        let most = affordable.min(MAX_HANDLES);
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(most, |maximum| maximum.min(most + OTHER_HANDLES));
        let current = limit.current.map_or(u64::MAX, |current| current.max(wanted));
        let raised = Rlimit { current: limit.current.map(|_| current), maximum: limit.maximum };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => current,
            // Then the limit is what it was.
            Err(_) => limit.current.unwrap_or(u64::MAX),
        };
        Self::within(HandleBounds { most: current.saturating_sub(OTHER_HANDLES).min(most), memory_bytes })
    }

    /// A given number.
    pub fn of(handles: u64) -> Arc<Self> {
        Self::within(HandleBounds { most: handles, memory_bytes: None })
    }

    fn within(bounds: HandleBounds) -> Arc<Self> {
        let handles = bounds.total(None);
        Arc::new(Self {
            bounds,
            total: handles.into(),
            taken: 0.into(),
            taken_often: 0.into(),
            wanted_often: handles.into(),
            unwanted_often: 0.into(),
            plenty: u64::MAX.into(),
        })
    }

    /// Takes note of how many containers there are: the more, the more memory all else takes, and the more is kept back for the
    /// files of every look. Before this is known, everything is.
    pub fn keep_back_for(&self, containers: usize) {
        let containers = containers as u64;
        let total = self.bounds.total(Some(containers));
        self.total.store(total, Ordering::Relaxed);
        let wanted = FILES_OF_EVERY_LOOK.saturating_mul(containers);
        self.wanted_often.store(wanted.min(total), Ordering::Relaxed);
        self.plenty.store(FILES_AND_DIRECTORIES.saturating_mul(containers), Ordering::Relaxed);
    }

    /// What bounds it.
    pub fn bounds(&self) -> HandleBounds {
        self.bounds
    }

    /// How many there are, taken ones among them.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// How many may still be taken.
    fn left(&self) -> u64 {
        self.total().saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// What the files of every look may still want.
    fn kept_back(&self) -> u64 {
        let wanted = self.wanted_often.load(Ordering::Relaxed);
        let [taken, unwanted] =
            [&self.taken_often, &self.unwanted_often].map(|handles| handles.load(Ordering::Relaxed));
        wanted.saturating_sub(taken).saturating_sub(unwanted)
    }

    /// Whether files of full looks have what there is no more, or what those of every look may want, as when containers were added.
    fn is_short(&self) -> bool {
        self.total() < self.taken.load(Ordering::Relaxed) || self.left() < self.kept_back()
    }

    /// Takes one, if there is one for files that are read so often.
    fn take(&self, cadence: Cadence) -> bool {
        let kept_back = match cadence {
            Cadence::Often => 0,
            Cadence::Seldom => self.kept_back(),
            Cadence::OfDirectory if self.is_plentiful() => self.kept_back(),
            Cadence::OfDirectory => return false,
        };
        let free = self.total().saturating_sub(kept_back);
        let take = |taken: u64| (taken < free).then_some(taken + 1);
        let is_taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if is_taken && cadence == Cadence::Often {
            self.taken_often.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    fn give_back(&self, cadence: Cadence) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        if cadence == Cadence::Often {
            self.taken_often.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Replaces how many of the files of every look one container does not have.
    fn replace_unwanted(&self, before: u64, now: u64) {
        self.unwanted_often.fetch_add(now, Ordering::Relaxed);
        self.unwanted_often.fetch_sub(before, Ordering::Relaxed);
    }

    /// Whether there are enough for all files of all containers and their directories.
    fn is_plentiful(&self) -> bool {
        self.plenty.load(Ordering::Relaxed) <= self.total()
    }

    fn share(self: &Arc<Self>, cadence: Cadence) -> Option<Share> {
        self.take(cadence).then(|| Share { budget: Arc::clone(self), cadence })
    }
}

/// The right to keep one handle, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<HandleBudget>,
    cadence: Cadence,
}

/// A file of the kernel that stays open by itself.
#[derive(Debug)]
pub(crate) struct KeptFile {
    handle: OwnedFd,
    _share: Share,
}

impl KeptFile {
    /// Opens a file to keep it; `None` where that is not safe, not allowed, or not possible.
    pub(crate) fn open(budget: &Arc<HandleBudget>, path: &Path) -> Option<Self> {
        let share = budget.share(Cadence::Often)?;
        let handle = open(path).ok()?;
        is_made_at_each_read(&handle).then_some(Self { handle, _share: share })
    }

    /// Whether what it describes is still there and gives something.
    pub(crate) fn is_readable(&self) -> bool {
        pread(&self.handle, &mut [0_u8; 16], 0).is_ok_and(|bytes| 0 < bytes)
    }
}

fn is_made_at_each_read(handle: &OwnedFd) -> bool {
    fstatfs(handle)
        .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| MADE_AT_EACH_READ.contains(&kind)))
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.cadence);
    }
}

/// Whether a file gives all it has at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// It does, as files of one record do.
    OneRead,
    /// It is a list that may come in pieces.
    UntilTheEnd,
}

/// A directory of which files are read.
pub trait Place {
    /// Its path.
    fn directory(&self) -> Cow<'_, Path>;

    /// Where it is the group of the container itself: the number of its tree, by which it is told from others without its path.
    fn tree(&self) -> Option<u8> {
        None
    }
}

impl Place for Path {
    fn directory(&self) -> Cow<'_, Path> {
        self.into()
    }
}

/// The files of one container.
#[derive(Debug)]
pub struct KeptFiles {
    budget: Arc<HandleBudget>,
    kept: RefCell<Kept>,
    /// How many files of every look less there were at the last full look than such a container may have.
    unwanted: u64,
}

#[derive(Debug, Default)]
struct Kept {
    files: Vec<KeptHandle>,
    /// Directories of such files that are not told from others by their tree.
    places: Vec<Box<Path>>,
    /// Where the next file is looked for first: every look reads in the same order.
    next: usize,
    /// What is in some directories.
    lists: Vec<Listed>,
    /// Whether there was no handle for a file of every look since the last full look.
    lacks_often: bool,
}

/// A file that is kept open, in twelve bytes, because each container has twenty. What it has of the budget is given back by
/// [`KeptFiles`].
#[derive(Debug)]
struct KeptHandle {
    handle: OwnedFd,
    /// See [`Kept::number_of`].
    place: u16,
    name: Name,
    cadence: Cadence,
    is_in_use: bool,
}

/// The names of all files that are ever kept, in the order in which they came; there are some forty.
static NAMES: [OnceLock<&'static str>; 256] = [const { OnceLock::new() }; 256];

/// The name of a file by its place in [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name(u8);

impl Name {
    /// Notes a name; `None` where there are too many.
    fn of(name: &'static str) -> Option<Self> {
        let mut known = (0..=u8::MAX).zip(&NAMES);
        known.find_map(|(place, known)| (*known.get_or_init(|| name) == name).then_some(Self(place)))
    }

    fn is(self, name: &str) -> bool {
        // Nearly always it is the same text at the same place.
        NAMES[usize::from(self.0)].get().is_some_and(|known| std::ptr::eq(*known, name) || *known == name)
    }
}

/// Numbers of places below this are those of trees.
const TREES: u16 = 1 << 8;

/// The directories in a directory.
#[derive(Debug)]
struct Listed {
    directory: Box<Path>,
    /// Itself, where handles are plentiful.
    handle: Option<KeptFile>,
    /// The links it had when the list was made.
    links: u64,
    list: Arc<[PathBuf]>,
    /// Whether it was compared since the last look.
    is_checked: bool,
}

impl KeptFiles {
    /// None yet.
    pub fn new(budget: &Arc<HandleBudget>) -> Self {
        Self { budget: Arc::clone(budget), kept: RefCell::default(), unwanted: 0 }
    }

    /// For one look: nothing will be kept.
    pub fn for_one_look() -> Self {
        Self::new(&HandleBudget::of(0))
    }

    /// What its handles are taken from.
    pub(crate) fn budget(&self) -> &Arc<HandleBudget> {
        &self.budget
    }

    /// Reads a file of one record, which is read at full looks only, and parses it.
    ///
    /// # Errors
    /// [`ReadError`], which names the path.
    pub fn parsed<T>(
        &self,
        place: &(impl Place + ?Sized),
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Result<T, ReadError> {
        self.read(Cadence::Seldom, Extent::OneRead, place, name, parse)
    }

    /// The same for a file that is read at each look.
    ///
    /// # Errors
    /// [`ReadError`], which names the path.
    pub fn parsed_at_each_look<T>(
        &self,
        place: &(impl Place + ?Sized),
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Result<T, ReadError> {
        self.read(Cadence::Often, Extent::OneRead, place, name, parse)
    }

    /// Reads a list that may come in pieces, at full looks only.
    ///
    /// # Errors
    /// [`ReadError`], which names the path.
    pub fn parsed_list<T>(
        &self,
        place: &(impl Place + ?Sized),
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Result<T, ReadError> {
        self.read(Cadence::Seldom, Extent::UntilTheEnd, place, name, parse)
    }

    fn read<T>(
        &self,
        cadence: Cadence,
        extent: Extent,
        place: &(impl Place + ?Sized),
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Unexpected>,
    ) -> Result<T, ReadError> {
        let mut buffer = BUFFER.take();
        let length = match self.fill(&mut buffer, extent, place, name) {
            Some(length) => Ok(length),
            None => self.open_and_fill(&mut buffer, cadence, extent, place, name),
        };
        let result = length.and_then(|length| {
            let unexpected = |source| ReadError::Unexpected { path: place.directory().join(name), source };
            parse(&text_of(&buffer[..length])).map_err(unexpected)
        });
        if buffer.capacity() <= LARGEST_KEPT_BUFFER_BYTES {
            BUFFER.set(buffer);
        }
        result
    }

    /// Reads a kept file; `None` when it is not kept, or not readable any more.
    fn fill(
        &self,
        buffer: &mut Vec<u8>,
        extent: Extent,
        place: &(impl Place + ?Sized),
        name: &'static str,
    ) -> Option<usize> {
        let mut kept = self.kept.borrow_mut();
        let index = kept.find(place, name)?;
        // One that has grown too large is opened once more, which says so.
        let read = read_at_once(&kept.files[index].handle, buffer, extent).ok();
        let read = read.filter(|length| *length as u64 <= MAX_BYTES);
        if read.is_none() {
            self.budget.give_back(kept.files.swap_remove(index).cadence);
            // The directory may be another one of the same name by now.
            let directory = place.directory();
            kept.lists.retain(|listed| *listed.directory != *directory);
        }
        read
    }

    /// Reads a file that is not kept, and keeps it where that is safe and allowed.
    fn open_and_fill(
        &self,
        buffer: &mut Vec<u8>,
        cadence: Cadence,
        extent: Extent,
        place: &(impl Place + ?Sized),
        name: &'static str,
    ) -> Result<usize, ReadError> {
        let path = place.directory().join(name);
        let handle = open(&path)?;
        let length =
            read_at_once(&handle, buffer, extent).map_err(|error| ReadError::from_io(&path, error.into()))?;
        if MAX_BYTES < length as u64 {
            return Err(ReadError::TooLarge { path });
        }
        if self.budget.take(cadence) {
            let is_kept = is_made_at_each_read(&handle)
                && self.kept.borrow_mut().keep(place, name, handle, cadence).is_some();
            if !is_kept {
                self.budget.give_back(cadence);
            }
        } else if cadence == Cadence::Often {
            self.kept.borrow_mut().lacks_often = true;
        }
        Ok(length)
    }

    /// The directories in a directory of a kernel file system, compared once in a look, listed again only when it has
    /// changed.
    ///
    /// A directory has a link for each one in it. One that goes while another comes leaves their number as it was; then
    /// the files of the former give errors, kept or not, and whoever reads them calls [`KeptFiles::forget_inner`].
    pub(crate) fn inner_directories(
        &self,
        directory: &Path,
        list: impl FnOnce(&Path) -> Vec<PathBuf>,
    ) -> Arc<[PathBuf]> {
        let mut kept = self.kept.borrow_mut();
        let index =
            kept.lists.iter().position(|listed| *listed.directory.as_os_str() == *directory.as_os_str());
        let links = match index.map(|index| &kept.lists[index]) {
            Some(listed) if listed.is_checked => return Arc::clone(&listed.list),
            Some(Listed { handle: Some(file), .. }) => fstat(&file.handle).ok(),
            _ => stat(directory).ok(),
        };
        #[allow(clippy::useless_conversion, reason = "it is narrower on other machines")]
        let links = links.map(|stat| u64::from(stat.st_nlink));
        if let Some(index) = index {
            let listed = &mut kept.lists[index];
            if links == Some(listed.links) {
                listed.is_checked = true;
                return Arc::clone(&listed.list);
            }
            // Its handle goes, too: the directory may have been removed and made again.
            kept.lists.swap_remove(index);
        }
        let Some(links) = links else { return Arc::default() };
        let (is_of_kernel, handle) = self.open_directory(directory);
        let list: Arc<[PathBuf]> = list(directory).into();
        if is_of_kernel {
            let (directory, list) = (directory.into(), Arc::clone(&list));
            kept.lists.push(Listed { directory, handle, links, list, is_checked: true });
        }
        list
    }

    /// Opens a directory, and tells whether its links mean anything; the handle only where it may be kept.
    fn open_directory(&self, directory: &Path) -> (bool, Option<KeptFile>) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(directory, flags, Mode::empty()) {
            Ok(handle) if is_made_at_each_read(&handle) => {
                let share = self.budget.share(Cadence::OfDirectory);
                (true, share.map(|share| KeptFile { handle, _share: share }))
            }
            _ => (false, None),
        }
    }

    /// Lists everything anew the next time.
    pub(crate) fn forget_inner(&self) {
        self.kept.borrow_mut().lists.clear();
    }

    /// Closes the files that were not read, and forgets the lists that were not looked at, since this was last called. What is kept
    /// for full looks is given back where the files of every look may want it.
    pub fn end_of_look(&mut self) {
        let kept = self.kept.get_mut();
        let lacks_often = std::mem::take(&mut kept.lacks_often);
        let Kept { files, next, lists, .. } = kept;
        let budget = &self.budget;
        lists.retain(|listed| listed.is_checked);
        if !budget.is_plentiful() {
            // That a directory was removed and made again shows in its files.
            for listed in lists.iter_mut() {
                listed.handle = None;
            }
        }
        // Each that goes is given back at once, so that no more go than are wanted.
        files.retain(|file| {
            let stays = file.is_in_use && !(file.cadence == Cadence::Seldom && budget.is_short());
            if !stays {
                budget.give_back(file.cadence);
            }
            stays
        });
        for file in files.iter_mut() {
            file.is_in_use = false;
        }
        for listed in lists.iter_mut() {
            listed.is_checked = false;
        }
        // One more is what shows that its init still runs, which is not among these.
        let often = files.iter().filter(|file| file.cadence == Cadence::Often).count() as u64 + 1;
        let unwanted = if lacks_often { 0 } else { FILES_OF_EVERY_LOOK.saturating_sub(often) };
        budget.replace_unwanted(std::mem::replace(&mut self.unwanted, unwanted), unwanted);
        // These stay for as long as the container runs.
        files.shrink_to_fit();
        lists.shrink_to_fit();
        *next = 0;
        kept.forget_places();
    }
}

impl Drop for KeptFiles {
    fn drop(&mut self) {
        self.kept.get_mut().files.iter().for_each(|file| self.budget.give_back(file.cadence));
        self.budget.replace_unwanted(self.unwanted, 0);
    }
}

impl Kept {
    fn find(&mut self, place: &(impl Place + ?Sized), name: &str) -> Option<usize> {
        let count = self.files.len();
        let place = self.number_of(place)?;
        let is_it = |index: &usize| {
            let file = &self.files[*index];
            file.place == place && file.name.is(name)
        };
        let index = (self.next..count).chain(0..self.next.min(count)).find(is_it)?;
        self.next = index + 1;
        self.files[index].is_in_use = true;
        Some(index)
    }

    /// Keeps a file that was opened; `None` where its place or its name gets no number.
    fn keep(
        &mut self,
        place: &(impl Place + ?Sized),
        name: &'static str,
        handle: OwnedFd,
        cadence: Cadence,
    ) -> Option<()> {
        let name = Name::of(name)?;
        let number = if let Some(number) = self.number_of(place) {
            number
        } else {
            let number = TREES.checked_add(u16::try_from(self.places.len()).ok()?)?;
            self.places.push(place.directory().into());
            number
        };
        self.files.push(KeptHandle { handle, place: number, name, cadence, is_in_use: true });
        Some(())
    }

    /// The number of a place: that of its tree, or from [`TREES`] on its place in the list; `None` where it has none yet.
    fn number_of(&self, place: &(impl Place + ?Sized)) -> Option<u16> {
        if let Some(tree) = place.tree() {
            return Some(tree.into());
        }
        let directory = place.directory();
        // Compared as bytes: all were made in the same way.
        let mut known = self.places.iter().map(|known| known.as_os_str());
        u16::try_from(known.position(|known| *known == *directory.as_os_str())?).ok()?.checked_add(TREES)
    }

    /// Forgets the places of which no file is kept.
    fn forget_places(&mut self) {
        let Self { files, places, .. } = self;
        let mut number = TREES;
        places.retain(|_| {
            let stays = files.iter().any(|file| file.place == number);
            if stays {
                number += 1;
            } else {
                // Those behind it move up.
                files.iter_mut().filter(|file| number < file.place).for_each(|file| file.place -= 1);
            }
            stays
        });
        places.shrink_to_fit();
    }
}

/// Reads from the beginning; grows the buffer until all has room, and returns how much there is.
fn read_at_once(handle: &OwnedFd, buffer: &mut Vec<u8>, extent: Extent) -> rustix::io::Result<usize> {
    if buffer.len() < FIRST_BUFFER_BYTES {
        buffer.resize(FIRST_BUFFER_BYTES, 0);
    }
    let mut length = 0;
    loop {
        let bytes = pread(handle, &mut buffer[length..], length as u64)?;
        length += bytes;
        let is_full = length == buffer.len();
        let is_last = extent == Extent::OneRead || bytes < LAST_PIECE_BYTES;
        if bytes == 0 || (is_last && !is_full) || MAX_BYTES < length as u64 {
            return Ok(length);
        }
        if is_full {
            buffer.resize(2 * length, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn text(files: &KeptFiles, directory: &Path, name: &'static str) -> Result<String, ReadError> {
        files.parsed_at_each_look(directory, name, |text| Ok(text.to_owned()))
    }

    fn handles(files: &KeptFiles) -> usize {
        files.kept.borrow().files.len()
    }

    #[test]
    fn a_file_of_the_kernel_is_opened_once_and_read_anew_each_time() {
        let budget = HandleBudget::of(10);
        let files = KeptFiles::new(&budget);
        let first = text(&files, Path::new("/proc"), "uptime").unwrap();
        assert_eq!(handles(&files), 1);
        // The clock advances by a hundredth; the handle must show it.
        while text(&files, Path::new("/proc"), "uptime").unwrap() == first {}
        assert_eq!(handles(&files), 1);
        assert_eq!(budget.left(), 9);
        drop(files);
        assert_eq!(budget.left(), 10);
    }

    #[test]
    fn a_file_on_a_disk_is_opened_each_time_so_that_another_in_its_place_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let files = KeptFiles::new(&HandleBudget::of(10));
        for content in ["1\n", "2\n"] {
            std::fs::write(directory.path().join("new"), content).unwrap();
            std::fs::rename(directory.path().join("new"), directory.path().join("pids.current")).unwrap();
            assert_eq!(text(&files, directory.path(), "pids.current").unwrap(), content);
        }
        assert_eq!(handles(&files), 0);
    }

    #[test]
    fn the_handle_of_a_process_that_ended_is_given_up() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let budget = HandleBudget::of(10);
        let files = KeptFiles::new(&budget);
        let directory = PathBuf::from(format!("/proc/{}", child.id()));
        assert!(text(&files, &directory, "stat").unwrap().contains("(sleep)"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(text(&files, &directory, "stat").unwrap_err().is_gone());
        assert_eq!(budget.left(), 10);
    }

    #[test]
    fn without_a_budget_everything_is_read_and_nothing_kept() {
        let files = KeptFiles::new(&HandleBudget::of(1));
        for _ in 0..2 {
            text(&files, Path::new("/proc"), "loadavg").unwrap();
            text(&files, Path::new("/proc"), "uptime").unwrap();
        }
        assert_eq!(handles(&files), 1);
    }

    #[test]
    fn files_of_full_looks_leave_room_for_those_of_every_look() {
        let budget = HandleBudget::of(10);
        let proc = Path::new("/proc");
        let seldom = |files: &KeptFiles| {
            for name in ["loadavg", "uptime", "stat", "meminfo", "vmstat"] {
                files.parsed(proc, name, |_| Ok(())).unwrap();
            }
            handles(files)
        };
        let files = KeptFiles::new(&budget);
        assert_eq!(seldom(&files), 0, "how many containers there are is not known");
        budget.keep_back_for(1);
        assert_eq!(seldom(&files), 2);
        let often =
            ["mounts", "version", "filesystems", "cmdline", "devices", "swaps", "partitions", "interrupts"];
        let read_often = |files: &KeptFiles, names: &[&'static str]| {
            for name in names {
                files.parsed_at_each_look(proc, name, |_| Ok(())).unwrap();
            }
        };
        read_often(&files, &often);
        assert_eq!((handles(&files), budget.left()), (10, 0));
        drop(files);
        let files = KeptFiles::new(&budget);
        read_often(&files, &often[..6]);
        assert_eq!(seldom(&files), 8, "what is taken already needs not be kept back");
    }

    #[test]
    fn what_full_looks_have_is_given_back_when_containers_are_added() {
        let budget = HandleBudget::of(20);
        let proc = Path::new("/proc");
        let often =
            ["mounts", "version", "filesystems", "cmdline", "devices", "swaps", "partitions", "interrupts"];
        let seldom = ["loadavg", "uptime", "stat", "meminfo", "vmstat"];
        let full_look = |files: &mut KeptFiles| {
            for name in often {
                files.parsed_at_each_look(proc, name, |_| Ok(())).unwrap();
            }
            for name in seldom {
                files.parsed(proc, name, |_| Ok(())).unwrap();
            }
            files.end_of_look();
            handles(files)
        };
        budget.keep_back_for(1);
        let mut first = KeptFiles::new(&budget);
        assert_eq!(full_look(&mut first), 13);
        budget.keep_back_for(2);
        assert_eq!(full_look(&mut first), 12, "no more than the other may want");
        let mut second = KeptFiles::new(&budget);
        assert_eq!(full_look(&mut second), 8);
        assert_eq!(full_look(&mut first), 12, "nobody wants it");
        budget.keep_back_for(3);
        assert_eq!(full_look(&mut first), 8);
        let mut third = KeptFiles::new(&budget);
        assert_eq!(full_look(&mut third), 4, "all that there is goes to the files of every look");
        assert_eq!(budget.left(), 0);
    }

    #[test]
    fn there_are_as_many_as_the_memory_of_the_monitor_allows() {
        let handles = |mebibytes: u64| HandleBudget::of_process(Some(mebibytes << 20)).total();
        assert_eq!([handles(3), handles(0)], [204, 0]);
        // What the shipped unit allows.
        assert!(handles(128) * HANDLE_BYTES <= (128 << 20) / 3);
        assert!(HandleBudget::of_process(None).total() <= MAX_HANDLES);
    }

    #[test]
    fn what_is_left_beside_the_handles_grows_with_the_containers() {
        let handles = |mebibytes: u64, containers| {
            let bounds = HandleBounds { most: MAX_HANDLES, memory_bytes: Some(mebibytes << 20) };
            let budget = HandleBudget::within(bounds);
            budget.keep_back_for(containers);
            budget.total()
        };
        // A third at least; nearly all twenty files of 1,000 containers in what the shipped unit allows.
        assert_eq!([handles(16, 150), handles(32, 150), handles(128, 100_000)], [1092, 2184, 8738]);
        assert_eq!([handles(128, 100), handles(128, 900)], [20_480, 19_859]);
        for containers in [0, 10, 100, 500, 1000, 2000, 4000] {
            let bytes = handles(128, containers) * HANDLE_BYTES;
            let rest = (24 << 20) + (8 << 10) * containers as u64;
            assert!(bytes + rest <= 128 << 20, "{containers}");
        }
    }

    #[test]
    fn handles_are_given_back_when_the_rest_needs_their_memory() {
        let budget = HandleBudget::of(3);
        budget.keep_back_for(0);
        let mut files = KeptFiles::new(&budget);
        let full_look = |files: &mut KeptFiles| {
            for name in ["loadavg", "uptime", "stat"] {
                files.parsed(Path::new("/proc"), name, |_| Ok(())).unwrap();
            }
            files.end_of_look();
            handles(files)
        };
        assert_eq!(full_look(&mut files), 3);
        budget.total.store(1, Ordering::Relaxed);
        assert_eq!((full_look(&mut files), full_look(&mut files)), (1, 1));
    }

    #[test]
    fn what_a_container_does_not_want_is_not_kept_back_for_it() {
        let budget = HandleBudget::of(10);
        budget.keep_back_for(1);
        let mut files = KeptFiles::new(&budget);
        let proc = Path::new("/proc");
        let mut full_look = || {
            files.parsed_at_each_look(proc, "version", |_| Ok(())).unwrap();
            for name in ["loadavg", "uptime", "stat", "meminfo", "vmstat"] {
                files.parsed(proc, name, |_| Ok(())).unwrap();
            }
            files.end_of_look();
            handles(&files)
        };
        assert_eq!(full_look(), 3, "seven more may come");
        assert_eq!(full_look(), 6, "none did");
        drop(files);
        assert_eq!((budget.left(), budget.kept_back()), (10, 8));
    }

    #[test]
    fn what_a_container_could_not_have_is_kept_back_for_it() {
        let budget = HandleBudget::of(3);
        budget.keep_back_for(2);
        let [mut first, mut second] = [KeptFiles::new(&budget), KeptFiles::new(&budget)];
        for name in ["version", "mounts", "cmdline"] {
            first.parsed_at_each_look(Path::new("/proc"), name, |_| Ok(())).unwrap();
        }
        text(&second, Path::new("/proc"), "uptime").unwrap();
        first.end_of_look();
        second.end_of_look();
        assert_eq!((handles(&first), handles(&second)), (3, 0));
        drop(first);
        assert_eq!((budget.left(), budget.kept_back()), (3, 3));
    }

    #[test]
    fn directories_are_kept_open_where_there_is_room_for_all_files() {
        let budget = HandleBudget::of(48);
        let mut files = KeptFiles::new(&budget);
        let mut look = |containers| {
            budget.keep_back_for(containers);
            let list =
                files.inner_directories(Path::new("/proc/self"), |_| vec![PathBuf::from("/proc/self/fd")]);
            assert_eq!(*list, [PathBuf::from("/proc/self/fd")], "with or without a handle");
            files.end_of_look();
            files.kept.borrow().lists.iter().filter(|listed| listed.handle.is_some()).count()
        };
        assert_eq!([look(2), look(2)], [1, 1]);
        assert_eq!([look(3), look(3)], [0, 0], "the files come first");
        assert_eq!(budget.left(), 48);
    }

    #[test]
    fn a_kept_file_takes_twelve_bytes() {
        assert_eq!(size_of::<KeptHandle>(), 12);
    }

    #[test]
    fn files_are_told_apart_by_name_and_place_also_when_places_are_forgotten() {
        let mut files = KeptFiles::new(&HandleBudget::of(10));
        let init = std::fs::read_to_string("/proc/1/comm").unwrap();
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        let read = |files: &KeptFiles, place: &str| text(files, Path::new(place), "comm").unwrap();
        for _ in 0..3 {
            assert_eq!((read(&files, "/proc/self"), read(&files, "/proc/1")), (own.clone(), init.clone()));
            assert_eq!(text(&files, Path::new("/proc/sys/kernel"), "ostype").unwrap(), "Linux\n");
        }
        let kept = |files: &KeptFiles| (handles(files), files.kept.borrow().places.len());
        assert_eq!(kept(&files), (3, 3));
        files.end_of_look();
        for _ in 0..2 {
            assert_eq!(read(&files, "/proc/1"), init);
            assert_eq!(text(&files, Path::new("/proc/sys/kernel"), "ostype").unwrap(), "Linux\n");
            files.end_of_look();
            assert_eq!(kept(&files), (2, 2));
        }
        assert_eq!(read(&files, "/proc/self"), own);
        assert_eq!(kept(&files), (3, 3));
    }

    #[test]
    fn what_is_no_longer_read_is_closed() {
        let mut files = KeptFiles::new(&HandleBudget::of(10));
        text(&files, Path::new("/proc"), "uptime").unwrap();
        text(&files, Path::new("/proc/self"), "stat").unwrap();
        files.end_of_look();
        text(&files, Path::new("/proc"), "uptime").unwrap();
        files.end_of_look();
        assert_eq!(handles(&files), 1);
    }

    #[test]
    fn a_list_that_comes_in_pieces_is_read_to_its_end() {
        let files = KeptFiles::new(&HandleBudget::of(10));
        let read =
            || files.parsed_list(Path::new("/proc"), "kallsyms", |text| Ok(text.lines().count())).unwrap();
        let first = read();
        assert!(1000 < first, "{first}");
        assert_eq!(read(), first);
    }

    #[test]
    fn a_witness_ends_with_its_process() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let budget = HandleBudget::of(1);
        let path = PathBuf::from(format!("/proc/{}/oom_score_adj", child.id()));
        let witness = KeptFile::open(&budget, &path).unwrap();
        assert!(witness.is_readable());
        assert!(KeptFile::open(&budget, &path).is_none(), "there is no more budget");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!witness.is_readable());
        drop(witness);
        assert_eq!(budget.left(), 1);
    }

    #[test]
    fn only_files_of_the_kernel_are_witnesses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("oom_score_adj");
        std::fs::write(&path, "0\n").unwrap();
        assert!(KeptFile::open(&HandleBudget::of(1), &path).is_none());
    }
}
