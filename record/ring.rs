//! The two kinds of ring that the kernel shares with the recorder: the BPF ring buffer with the
//! ticks, and perf's rings with the process events. Both are read the same way:
//!
//! ```text
//!   control page(s)          data, a power of two bytes
//!   ┌────────────────┐      ┌──────────────────────────────────┐
//!   │ head    tail   │      │ record │ record │ rec…      │ …ord │
//!   └────────────────┘      └──────────────────────────────────┘
//!     kernel  recorder        ▲ tail % size         ▲ head % size
//! ```
//!
//! Between tail and head the data belongs to the recorder. libbpf would map the data of a BPF ring
//! twice in a row, so that no record wraps, and count it twice as memory; here the rare record that
//! wraps is copied instead.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a kernel object.
struct Shared {
    base: NonNull<u8>,
    bytes: usize,
}

impl Shared {
    fn map(descriptor: BorrowedFd<'_>, offset: u64, bytes: usize, write: bool) -> io::Result<Self> {
        let access = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: the kernel chooses the address, so no existing mapping is touched.
        let base = unsafe { mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, descriptor, offset)? };
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("a ring was mapped at address 0"))?;
        Ok(Self { base, bytes })
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset + 8 <= self.bytes && offset.is_multiple_of(8), "a ring's control word lies in its mapping");
        // SAFETY: the word is inside the mapping and aligned (just checked; mappings start at a
        // page), lives as long as `self`, and both sides access it atomically.
        unsafe { self.base.add(offset).cast().as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, and every reference into it borrows `self`.
        if let Err(error) = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) } {
            debug_assert!(false, "a ring could not be unmapped: {error}");
        }
    }
}

/// The data of a ring: `size` bytes, a power of two, at `offset` in a mapping.
struct Data {
    shared: Shared,
    offset: usize,
    size: usize,
    wrapped: Vec<u8>,
}

impl Data {
    fn new(shared: Shared, offset: usize, size: usize) -> io::Result<Self> {
        if !size.is_power_of_two() || offset + size > shared.bytes {
            return Err(io::Error::other("a ring has a size that is not a power of two"));
        }
        Ok(Self { shared, offset, size, wrapped: Vec::new() })
    }

    fn header(&self, position: u64) -> &AtomicU32 {
        let at = self.offset + (position as usize & (self.size - 1) & !7);
        // SAFETY: `at` is a multiple of 8 and below `offset + size`, which `new` found inside the
        // mapping; sizes are multiples of a page, so 4 bytes fit.
        unsafe { self.shared.base.add(at).cast().as_ref() }
    }

    /// The `bytes` at a position, which must lie between tail and head.
    fn record(&mut self, position: u64, bytes: usize) -> &[u8] {
        let bytes = bytes.min(self.size);
        let start = position as usize & (self.size - 1);
        let first = bytes.min(self.size - start);
        // SAFETY: `offset + start + first <= offset + size`, inside the mapping; the kernel does not
        // write between tail and head, and the tail moves on only after the slice's last use.
        let head = unsafe { std::slice::from_raw_parts(self.shared.base.add(self.offset + start).as_ptr(), first) };
        if first == bytes {
            return head;
        }
        self.wrapped.clear();
        self.wrapped.extend_from_slice(head);
        // SAFETY: as above; the rest starts at the data's first byte and `bytes <= size`.
        let rest = unsafe { std::slice::from_raw_parts(self.shared.base.add(self.offset).as_ptr(), bytes - first) };
        self.wrapped.extend_from_slice(rest);
        &self.wrapped
    }
}

/// How full the BPF ring buffer is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingFill {
    /// When the recorder looked last.
    pub(crate) bytes: u64,
    /// At most since this was asked last.
    pub(crate) peak: u64,
    /// At most that it can be.
    pub(crate) size: u64,
}

/// The BPF ring buffer.
pub(crate) struct BpfRing {
    /// To wait for it.
    descriptor: OwnedFd,
    consumer: Shared,
    data: Data,
}

impl BpfRing {
    /// Maps the ring buffer map behind `map`, which was created with `size` bytes.
    pub(crate) fn map(map: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let consumer = Shared::map(map, 0, page, true)?;
        let shared = Shared::map(map, page as u64, page + size, false)?;
        Ok(Self { descriptor: map.try_clone_to_owned()?, consumer, data: Data::new(shared, page, size)? })
    }

    /// How full it is now.
    pub(crate) fn fill(&self) -> RingFill {
        let head = self.data.shared.word(0).load(Ordering::Acquire);
        let bytes = head.saturating_sub(self.consumer.word(0).load(Ordering::Relaxed));
        RingFill { bytes, peak: bytes, size: self.data.size as u64 }
    }

    /// Hands every record that is complete now to `each`, and frees it afterwards.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        self.drain_while(|bytes| {
            each(bytes);
            true
        });
    }

    /// The same up to the first record that `each` does not take.
    pub(crate) fn drain_while(&mut self, mut each: impl FnMut(&[u8]) -> bool) {
        const BUSY: u32 = 1 << 31;
        const DISCARDED: u32 = 1 << 30;
        const HEADER: usize = 8;
        let head = self.data.shared.word(0).load(Ordering::Acquire);
        let mut tail = self.consumer.word(0).load(Ordering::Relaxed);
        while tail < head {
            let header = self.data.header(tail).load(Ordering::Acquire);
            if header & BUSY != 0 {
                return;
            }
            let bytes = (header & !(BUSY | DISCARDED)) as usize;
            if header & DISCARDED == 0 && !each(self.data.record(tail + HEADER as u64, bytes)) {
                return;
            }
            tail += (HEADER + bytes).next_multiple_of(8) as u64;
            self.consumer.word(0).store(tail, Ordering::Release);
        }
    }
}

impl AsFd for BpfRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The ring of a perf event.
pub(crate) struct PerfRing {
    data: Data,
}

impl PerfRing {
    const HEAD: usize = 1024;
    const TAIL: usize = 1032;

    /// Gives the event a ring of `size` bytes, a power of two.
    pub(crate) fn map(event: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let shared = Shared::map(event, 0, page + size, true)?;
        Ok(Self { data: Data::new(shared, page, size)? })
    }

    /// Hands every record to `each`, header included, and frees it afterwards.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        const HEADER: u64 = 8;
        let head = self.data.shared.word(Self::HEAD).load(Ordering::Acquire);
        let mut tail = self.data.shared.word(Self::TAIL).load(Ordering::Relaxed);
        while tail + HEADER <= head {
            // struct perf_event_header: u32 type, u16 misc, u16 size.
            let header = self.data.record(tail, HEADER as usize);
            let bytes = u16::from_le_bytes([header[6], header[7]]) as u64;
            if bytes < HEADER || tail + bytes > head {
                break;
            }
            each(self.data.record(tail, bytes as usize));
            tail += bytes;
        }
        // What follows an impossible size cannot be found: skip it.
        self.data.shared.word(Self::TAIL).store(head, Ordering::Release);
    }
}
