package durability

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Knowledge says whether the kernel answered a question.
type Knowledge uint8

// The kinds of answer.
const (
	// Unknown: the kernel may know, but does not tell this user.
	Unknown Knowledge = iota
	// Known: the numbers are the kernel's.
	Known
	// Unsupported: the kernel or the filesystem has no answer for any user.
	Unsupported
)

// String returns the word for it.
func (k Knowledge) String() string {
	switch k {
	case Known:
		return "known"
	case Unsupported:
		return "unsupported"
	}
	return "unknown"
}

// PageCache counts the pages of a range of a file in the page cache, each of
// os.Getpagesize bytes. The numbers mean something only where Known is Known.
type PageCache struct {
	Known     Knowledge
	Cached    int64
	Dirty     int64 // not yet on their way to the device
	Writeback int64 // on their way
	Evicted   int64 // gone from the cache
	Reason    string
}

// PageCache asks cachestat(2), Linux 6.5, about n bytes at off; n 0 means up to
// the end. The kernel answers the file's owner and processes that may write it. That
// there is no answer is not an error.
func (f *File) PageCache(off, n int64) (PageCache, error) {
	var st unix.Cachestat_t
	err := f.with(func(fd int) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &st, 0)
	})
	switch {
	case errors.Is(err, unix.EPERM):
		return PageCache{Known: Unknown, Reason: "the kernel tells it to the file's owner and writers only"}, nil
	case errors.Is(err, unix.ENOSYS):
		return PageCache{Known: Unsupported, Reason: "the kernel has no cachestat(2): it came with Linux 6.5"}, nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return PageCache{Known: Unsupported, Reason: "the filesystem has no cachestat(2)"}, nil
	case err != nil:
		return PageCache{}, rangeError("cachestat", f.Path(), off, n, err)
	}
	return PageCache{
		Known: Known, Cached: int64(st.Cache), Dirty: int64(st.Dirty),
		Writeback: int64(st.Writeback), Evicted: int64(st.Evicted),
	}, nil
}

// DropCache asks the kernel to drop the clean pages of n bytes at off from the
// page cache; n 0 means up to the end (posix_fadvise(2), POSIX_FADV_DONTNEED).
// Dirty pages, and pages that any process maps, stay: to read what the device
// holds, see ReadDirect.
func (f *File) DropCache(off, n int64) error {
	err := f.with(func(fd int) error { return unix.Fadvise(fd, off, n, unix.FADV_DONTNEED) })
	return rangeError("drop cache", f.Path(), off, n, err)
}
