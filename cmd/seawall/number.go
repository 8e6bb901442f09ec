//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// number is the value of a flag that takes a whole number.
type number struct{ n uint64 }

var _ cli.Generic = (*number)(nil)

// Set implements cli.Generic.
func (v *number) Set(text string) (err error) {
	v.n, err = parseNumber(text)
	return err
}

// String implements cli.Generic.
func (v *number) String() string { return strconv.FormatUint(v.n, 10) }

// parseNumber reads a whole number: decimal digits, with as many zeros in front as
// listings put there, or hexadecimal ones behind 0x. Numbers of the command mean
// the same wherever they stand.
func parseNumber(text string) (uint64, error) {
	digits, base := text, 10
	if hex, ok := strings.CutPrefix(strings.ToLower(text), "0x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%s is too large: 64 bits are the limit", text)
	}
	return 0, fmt.Errorf("%q is no number like 1234 or 0x4d2", text)
}

// numberFlag returns a flag that takes a whole number, with what it is where it
// is not given.
func numberFlag(name, usage string, value uint64, valueText string, aliases ...string) cli.Flag {
	return &cli.GenericFlag{
		Name: name, Aliases: aliases, Usage: usage, Value: &number{value}, DefaultText: valueText,
	}
}

// numberOf returns a numberFlag's number.
func numberOf(c *cli.Context, name string) uint64 {
	if v, ok := c.Generic(name).(*number); ok {
		return v.n
	}
	return 0
}
