package durabilitytest

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// Key tells contents apart: equal files have equal keys, and different ones have
// different keys but for a chance of 2^-64 or so. Keys mean nothing to another
// process.
type Key [2]uint64

// keySeed makes the keys of one process comparable.
var keySeed = maphash.MakeSeed()

// add and sub make a key a sum, which does not mind the order, and from which a
// part can be taken again.
func (k *Key) add(o Key) {
	var carry uint64
	k[0], carry = bits.Add64(k[0], o[0], 0)
	k[1], _ = bits.Add64(k[1], o[1], carry)
}

func (k *Key) sub(o Key) {
	var borrow uint64
	k[0], borrow = bits.Sub64(k[0], o[0], 0)
	k[1], _ = bits.Sub64(k[1], o[1], borrow)
}

// mix spreads two numbers over a key.
func mix(a, b uint64) Key {
	const one, two = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
	h1, l1 := bits.Mul64(a^one, b^two)
	h2, l2 := bits.Mul64(a+two, (b^h1)|1)
	return Key{h1 ^ l1 ^ a, h2 ^ l2 ^ bits.RotateLeft64(b, 29)}
}

// sectorKey returns a whole sector's share; zeros have none.
func sectorKey(number int64, data []byte) Key {
	if string(data) == string(zeroSector[:]) {
		return Key{}
	}
	return mix(maphash.Bytes(keySeed, data), uint64(number)+1)
}

// partKey returns the share of the sector in which a file ends.
func partKey(number int64, data []byte) Key {
	return mix(maphash.Bytes(keySeed, data), ^uint64(number))
}

// nameHash returns a name's hash.
func nameHash(name string) uint64 { return maphash.String(keySeed, name) }

// fileKey returns the share of one name.
func fileKey(name uint64, size int64, content Key) Key {
	k := mix(name^content[0], uint64(size)+name)
	o := mix(content[1]+name, content[0])
	k.add(o)
	return k
}

// Key returns the key of the files, names and sizes included.
func (fs Files) Key() Key {
	var k Key
	for name, data := range fs {
		if strings.HasSuffix(name, "/") {
			k.add(fileKey(nameHash(name), -1, Key{}))
			continue
		}
		var sum Key
		whole := int64(len(data)) / sectorBytes
		for number := range whole {
			sum.add(sectorKey(number, data[number*sectorBytes:(number+1)*sectorBytes]))
		}
		if part := data[whole*sectorBytes:]; len(part) > 0 {
			sum.add(partKey(whole, part))
		}
		k.add(fileKey(nameHash(name), int64(len(data)), sum))
	}
	return k
}
