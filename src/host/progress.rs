//! The progress of a task: a bar on a terminal, `STATUS=` under systemd, nothing elsewhere.

use std::io::{self, IsTerminal, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use sd_notify::NotifyState;

/// How often the bar is drawn and systemd is notified.
const BEAT: Duration = Duration::from_millis(250);

/// By how much a task that makes progress extends its unit's time limit: long enough for one slow beat, and short
/// enough that a hung task is stopped soon.
const EXTENSION: Duration = Duration::from_secs(120);

static BARS: OnceLock<MultiProgress> = OnceLock::new();
static ENABLED: OnceLock<bool> = OnceLock::new();

/// Enables bars on a terminal; called once, before any bar.
pub fn start(quiet: bool) {
    ENABLED.get_or_init(|| !quiet && io::stderr().is_terminal());
}

/// Writes something to the terminal without tearing a bar.
pub fn above_bars(write: impl FnOnce()) {
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// Number of bytes processed, shared with the thread that processes them.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds bytes.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets the number of bytes.
    pub fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// The number of bytes.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts what is read from `inner`.
    pub fn reader<R: Read>(&self, inner: R) -> CountedReader<R> {
        CountedReader { inner, counter: self.clone() }
    }
}

/// A reader that counts.
#[derive(Debug)]
pub struct CountedReader<R> {
    inner: R,
    counter: Counter,
}

impl<R: Read> Read for CountedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.counter.add(read as u64);
        Ok(read)
    }
}

/// The progress of one step; it ends when it is dropped.
#[derive(Debug)]
pub struct Progress {
    counter: Counter,
    bar: Option<ProgressBar>,
    beat: tokio::task::JoinHandle<()>,
}

impl Progress {
    /// Begins a step. `total` is its size in bytes where it is known, or guessed.
    pub fn begin(what: &str, total: Option<u64>) -> Self {
        Progress::begin_slow(what, total, EXTENSION)
    }

    /// Begins a step whose bytes may stand still for as long as `pause` and move on.
    pub fn begin_slow(what: &str, total: Option<u64>, pause: Duration) -> Self {
        let counter = Counter::default();
        let bar = bar(what, total);
        let beat = tokio::spawn(beat(what.to_owned(), counter.clone(), bar.clone(), pause));
        Progress { counter, bar, beat }
    }

    /// The counter of this step.
    pub fn counter(&self) -> Counter {
        self.counter.clone()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.beat.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn beat(what: String, counter: Counter, bar: Option<ProgressBar>, extension: Duration) {
    let extension = u32::try_from(extension.as_micros()).unwrap_or(u32::MAX);
    let mut last = 0;
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        let now = counter.get();
        if let Some(bar) = &bar {
            bar.set_position(now);
        }
        if now != last {
            last = now;
            let status = format!("{what}: {}", HumanBytes(now));
            // Outside systemd there is no socket, and progress is never a reason to fail.
            drop(sd_notify::notify(&[NotifyState::Status(&status), NotifyState::ExtendTimeoutUsec(extension)]));
        }
    }
}

fn bar(what: &str, total: Option<u64>) -> Option<ProgressBar> {
    if !ENABLED.get().copied().unwrap_or(false) {
        return None;
    }
    let bars = BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{msg} {wide_bar} {bytes} of about {total_bytes}, {bytes_per_sec}, {elapsed}")
        }
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {bytes}, {bytes_per_sec}, {elapsed}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let bar = bars.add(bar);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(BEAT);
    Some(bar)
}
