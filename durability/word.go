//go:build !race || !(amd64 || arm64)

package durability

import "sync/atomic"

// loadWord loads a word of a mapping, in one atomic load.
func loadWord(p *uint64) uint64 { return atomic.LoadUint64(p) }

// storeWord stores a word of a mapping, in one atomic store.
func storeWord(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// storeNothing stores into a word of a mapping what it holds, in one atomic step.
func storeNothing(p *uint32) { atomic.AddUint32(p, 0) }
