package durability

// LeaveCopyOnWrite does on any filesystem what Allocate does on btrfs.
var LeaveCopyOnWrite = (*File).leaveCopyOnWrite
