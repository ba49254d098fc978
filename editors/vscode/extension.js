// Starts `bassloop lsp` for the files of Bass that are open.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

exports.activate = () => {
  const command = workspace.getConfiguration("bass").get("command");
  client = new LanguageClient(
    "bassloop",
    "Bass",
    { command, args: ["lsp"] },
    { documentSelector: [{ language: "bass" }] },
  );
  return client.start();
};

exports.deactivate = () => client?.stop();
