# The page of the options, from what they say themselves.
{ lib, options }:
let
  all = lib.filter (option: lib.hasPrefix "services.pgcellar." option.name && !option.internal) (
    lib.optionAttrSetToDocList options
  );
  described = map (
    option:
    if
      lib.elem (option.description or null) [
        null
        ""
      ]
    then
      throw "the option ${option.name} has no description"
    else
      option
  ) all;
  isSetting = option: lib.hasInfix ".settings." option.name;
  isCredential = option: lib.hasInfix ".credentials." option.name;
  # The credentials are alike in what they have: that of one stands for all.
  id = lib.head (lib.importJSON ../../options.json).credentials;
  isPart = option: builtins.match ".*[.]credentials[.][^.]+[.].+" option.name != null;
  isAlike = option: isPart option && !lib.hasInfix ".credentials.${id}." option.name;
  page = map (
    option:
    if isPart option then
      option
      // {
        name = lib.replaceStrings [ ".credentials.${id}." ] [ ".credentials.<id>." ] option.name;
      }
    else
      option
  ) (lib.filter (option: !isAlike option) described);
  ofNone = option: option.default.text or null == "null";
  text =
    value:
    if value._type or "" == "literalExpression" then
      lib.trim value.text
    else
      lib.generators.toPretty { } value;
  # Without the markup of NixOS's manual.
  plain = lib.replaceStrings [ "{file}" "{manpage}" "{option}" ] [ "" "" "" ];
  block = title: value: "${title}:\n\n```nix\n${text value}\n```\n\n";
  entry =
    option:
    "${
      if isSetting option || isCredential option then "###" else "##"
    } `${option.name}`\n\n${plain (lib.trim option.description)}\n\nType: ${option.type}\n\n"
    + lib.optionalString (option ? default && !ofNone option) (block "Default" option.default)
    + lib.optionalString (option ? example) (block "Example" option.example);
in
builtins.deepSeq (map (option: option.name) described) (
  "<!-- written by scripts/test-nix with PGCELLAR_WRITE_GOLDEN=1, from the options' own declarations -->\n\n"
  + "# Options of the NixOS module\n\n"
  + "An option without a default is `null`: not set. `settings` also takes variables of the libraries, such as `HTTPS_PROXY`.\n\n"
  + lib.trim (lib.concatMapStrings entry page)
  + "\n"
)
