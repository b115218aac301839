package level2

import "encoding/binary"

// A Purge is a removal as the processes that share a backend tell each other.
type Purge struct {
	Kind  Kind
	Soft  bool   // make stale, not gone
	Name  string // the key, tag or prefix
	Stamp Stamp  // of the purge: what was generated before is meant
}

// A Kind says what a Purge removes.
type Kind byte

// The values are part of the messages.
const (
	purgeNone   Kind = 0
	PurgeKey    Kind = 1
	PurgeTag    Kind = 2
	PurgePrefix Kind = 3
	PurgeFlush  Kind = 4
	PurgeOlder  Kind = 5 // of a key that has a newer value now
	greeting    Kind = 6 // of nothing: it says what time it is
)

// A message is one purge, or a greeting, and where it comes from:
//
//	byte 0      version of the format, 1
//	bytes 1-8   who purges: that of the stamp
//	byte 9      kind
//	byte 10     1 if soft, else 0
//	bytes 11-18 stamp (big endian, like who drew it)
//	then        Options.BackendPrefix and name, each after its length (uvarint)
//
// The prefix keeps caches apart that share a backend and so a channel.
const (
	messageVersion = 1
	messageFixed   = 19
)

func appendMessage(dst []byte, prefix string, p Purge) []byte {
	dst = append(dst, messageVersion)
	dst = binary.BigEndian.AppendUint64(dst, p.Stamp.By)
	dst = append(dst, byte(p.Kind), softByte(p.Soft))
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.Stamp.At))
	return appendString(appendString(dst, prefix), p.Name)
}

func softByte(soft bool) byte {
	if soft {
		return 1
	}
	return 0
}

// parseMessage returns what b says, and whether it says anything. It never
// panics.
func parseMessage(b []byte) (prefix string, p Purge, ok bool) {
	if len(b) < messageFixed || b[0] != messageVersion || b[10] > 1 {
		return "", Purge{}, false
	}
	r := fieldReader{rest: b[messageFixed:]}
	prefix = r.string()
	p = Purge{
		Kind: Kind(b[9]), Soft: b[10] == 1, Name: r.string(),
		Stamp: Stamp{int64(binary.BigEndian.Uint64(b[11:])), binary.BigEndian.Uint64(b[1:])},
	}
	return prefix, p, !r.bad && len(r.rest) == 0 && p.Kind >= PurgeKey && p.Kind <= greeting
}
