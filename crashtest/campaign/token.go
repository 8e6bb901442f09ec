//go:build linux

package campaign

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// ErrToken reports a token that is not one, or was cut off or changed: copy the
// whole word.
var ErrToken = errors.New("campaign: not a token")

// ErrSubject reports a token of a subject that is not known here: replay it with
// the program that has found it.
var ErrSubject = errors.New("campaign: the token is of a subject that is not known here")

// tokenVersion is raised whenever tokens change their meaning.
const tokenVersion = "1"

// maxTokenBytes bounds what a token unpacks to.
const maxTokenBytes = 64 << 20

// Token packs all that a replay needs into one word: the campaign's name, a
// version, and the details, compressed, with a checksum.
func Token(campaign string, details any) (string, error) {
	plain, err := json.Marshal(details)
	if err != nil {
		return "", fmt.Errorf("campaign: token: %w", err)
	}
	if len(plain) > maxTokenBytes {
		return "", fmt.Errorf("campaign: a token of %d bytes: at most %d can be read again", len(plain), maxTokenBytes)
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("campaign: token: %w", err)
	}
	packed := binary.LittleEndian.AppendUint32(b.Bytes(), crc32.ChecksumIEEE(plain))
	return campaign + tokenVersion + "." + base64.RawURLEncoding.EncodeToString(packed), nil
}

// TokenCampaign returns the name of the campaign that made the token.
func TokenCampaign(token string) (string, error) {
	head, _, ok := strings.Cut(token, ".")
	name, known := strings.CutSuffix(head, tokenVersion)
	switch {
	case !ok || name == "":
		return "", fmt.Errorf("%w: %.20q", ErrToken, token)
	case !known:
		return "", fmt.Errorf("%w of this version: %.20q", ErrToken, token)
	}
	return name, nil
}

// ParseToken unpacks a token of that campaign into details.
func ParseToken(token, campaign string, details any) error {
	name, err := TokenCampaign(token)
	if err != nil {
		return err
	}
	if name != campaign {
		return fmt.Errorf("%w of campaign %s: it is of %s", ErrToken, campaign, name)
	}
	_, body, _ := strings.Cut(token, ".")
	packed, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || len(packed) < 4 {
		return fmt.Errorf("%w: cut off, or changed", ErrToken)
	}
	sum := binary.LittleEndian.Uint32(packed[len(packed)-4:])
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed[:len(packed)-4])), maxTokenBytes))
	if err != nil || crc32.ChecksumIEEE(plain) != sum {
		return fmt.Errorf("%w: cut off, or changed", ErrToken)
	}
	if err := json.Unmarshal(plain, details); err != nil {
		return fmt.Errorf("%w: %w", ErrToken, err)
	}
	return nil
}
