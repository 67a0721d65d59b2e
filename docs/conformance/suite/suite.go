//go:build tools

// Package suite pins the published conformance tests that `cargo xtask conformance --run` builds and runs.
package suite

import _ "k8s.io/kubernetes/test/e2e/framework"
