// External Secrets' controller, with Vault as the only store that it can read (see `parts` in pins.toml).
package main

import "github.com/external-secrets/external-secrets/cmd/controller"

func main() { controller.Execute() }
