package ring

import "testing"

func TestNotCounted(t *testing.T) { t.Log(caller(), fields(), local(1), busy(nil, nil)) }
