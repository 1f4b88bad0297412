// etcd, which is not buildable by name alone: its main package sits in a module that nobody else may require.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
