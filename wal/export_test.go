package wal

// MaxMapped is how many segments stay mapped for reading.
const MaxMapped = maxMapped
