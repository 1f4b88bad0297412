path "kv/data/web/*" {
  capabilities = ["create", "read", "update", "patch", "delete", "list"]
}
# ----
path "kv/data/+/db" { capabilities = ["read"] }
path "kv/metadata/*" { capabilities = ["list"] }
path "kv/data/web/root" { capabilities = ["deny"] }
# ----
{"path": {"kv/data/a/*": {"capabilities": ["read", "list"]}, "sys/mounts": {"capabilities": ["read", "sudo"]}}}
# ----
// Each identity sees its own.
path "kv/data/{{namespace}}/{{serviceaccount}}/*" {
  capabilities = ["read"] # and no more
}
# ----
path "kv/data/team" {
  capabilities = ["create", "update"]
  comment = "a \"team\" \u0041"
}
# ----
/* nothing
   at all */
name = "empty"
# ----
path "kv/*" { policy = "write" }
