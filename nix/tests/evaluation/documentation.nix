# The page of the options, from what they say themselves; the variables below `settings` are pgcellar.env(5)'s, and are
# only counted on to have a description.
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
  text =
    value:
    if value._type or "" == "literalExpression" then
      lib.trim value.text
    else
      lib.generators.toPretty { } value;
  # Without the markup of NixOS's manual.
  plain = lib.replaceStrings [ "{file}" "{manpage}" ] [ "" "" ];
  block = title: value: "${title}:\n\n```nix\n${text value}\n```\n\n";
  entry =
    option:
    "## `${option.name}`\n\n${plain (lib.trim option.description)}\n\nType: ${option.type}\n\n"
    + lib.optionalString (option ? default) (block "Default" option.default)
    + lib.optionalString (option ? example) (block "Example" option.example);
  page = lib.filter (option: !isSetting option && !isCredential option) described;
in
builtins.deepSeq (map (option: option.name) described) (
  "# Options of the NixOS module\n\n"
  + "`settings` has an option for each variable of `pgcellar.env(5)` but `DB_NAME`, the schedules and secrets, which have options\n"
  + "of their own, and takes further variables; `credentials` has one for\n"
  + "each of the secrets ${
    lib.concatMapStringsSep ", " (id: "`${id}`") (lib.importJSON ../../options.json).credentials
  }.\n\n"
  + lib.trim (lib.concatMapStrings entry page)
  + "\n"
)
