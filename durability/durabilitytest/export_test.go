package durabilitytest

// ErrStarted is errStarted.
var ErrStarted = errStarted
