rockspec_format = "3.0"
package = "tandem"
version = "scm-1"
source = {
  url = "git+https://example.invalid/tandem.git",
}
description = {
  summary = "SIP high-availability proxy: policies in Lua, and a simulator to prove them",
  detailed = [[
    The Lua modules of Tandem and the core that runs them under virtual time:
    what a policy needs to be written, and tested with busted. The proxy itself
    is installed by `make install`.
  ]],
  license = "MIT",
}
dependencies = {
  "lua >= 5.4, < 5.5",
}
test_dependencies = {
  "busted",
}
build = {
  type = "make",
  build_target = "build/lua/tandem/simcore.so",
  build_variables = {
    NO_DEPS = "1",
  },
  install_target = "install-lua",
  install_variables = {
    LUADIR = "$(LUADIR)",
    LIBDIR = "$(LIBDIR)",
    NO_DEPS = "1",
  },
}
test = {
  type = "busted",
}
