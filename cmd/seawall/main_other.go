//go:build !linux

package main

// Seawall rests on system calls of Linux. This name is defined nowhere, so
// that the compiler says so in one line.
var _ = seawall_needs_Linux

func main() {}
