//go:build !invariants

package wal

// invariants says that broken ones panic. The build tag `invariants` sets it.
const invariants = false
