"use strict";
// The Telegram view: what one of the twin's people sees, asked for every second while it is shown.

const ASK_MS = 1000;
const tg = {person: 0, chat: 0, people: new Map(), drawn: new Map(), told: {}, timer: 0};

function tgShow(problem) {
  $("tg-problem").hidden = !problem;
  $("tg-problem").textContent = problem || "";
}

// Draws a part only when what it shows has changed, so that focus and a screen reader's place stay.
function tgChanged(part, value) {
  const text = JSON.stringify(value);
  if (tg.told[part] === text) return false;
  tg.told[part] = text;
  return true;
}

function tgButton(chosen, name, below, unread, act) {
  const item = el("li");
  const button = el("button", "person");
  button.type = "button";
  button.setAttribute("aria-pressed", String(chosen));
  const first = el("span", "face", name.slice(0, 1).toUpperCase());
  first.setAttribute("aria-hidden", "true");
  const shown = el("span", "name", name);
  if (unread) {
    const count = el("span", "unread", String(unread));
    count.setAttribute("aria-label", `${unread} unread`);
    shown.append(count);
  }
  button.append(first, shown, el("span", "sub", below));
  button.addEventListener("click", act);
  item.append(button);
  return item;
}

function tgReplace(list, items) {
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...items);
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
}

function tgPhone(person) {
  return person.bot ? `@${person.username} · bot` : `+${person.phone}`;
}

function tgChoose(person, chat) {
  if (person !== tg.person || chat !== tg.chat) { tg.drawn.clear(); $("tg-feed").replaceChildren(); delete tg.told.messages; }
  tg.person = person;
  tg.chat = chat;
  tgShow("");
  tgAsk();
}

function tgDrawPeople(people) {
  tg.people = new Map(people.map((person) => [person.id, person]));
  const shown = people.slice(0, 60);
  if (tgChanged("people", [shown, tg.person])) {
    tgReplace($("tg-people"), shown.map((person) => tgButton(person.id === tg.person, person.name, tgPhone(person), 0, () => tgChoose(person.id, 0))));
    $("tg-other").replaceChildren(new Option("…", ""), ...shown.filter((person) => person.id !== tg.person).map((person) => new Option(person.name, person.id)));
  }
  $("tg-new").hidden = !tg.person || tg.people.get(tg.person)?.bot;
}

function tgDrawChats(chats) {
  if (!tgChanged("chats", [chats, tg.person, tg.chat])) return;
  const items = chats.map((chat) => tgButton(chat.id === tg.chat, chat.title, chat.kind === "user" ? "private chat" : chat.kind, chat.unread, () => tgChoose(tg.person, chat.id)));
  tgReplace($("tg-chats"), items);
  $("tg-chats-title").hidden = !items.length;
}

function tgLink(text, address) {
  const link = el("a", "", text);
  if (/^https?:\/\//.test(address)) link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

// The text, cut wherever a format begins or ends; each piece gets all formats that cover it.
function tgWords(text, formats) {
  const words = el("p", "text");
  const bare = [...text.matchAll(/https?:\/\/[^\s)]+/g)].map((one) => ({tag: "a", offset: one.index, length: one[0].length, url: one[0]}));
  const all = [...formats, ...bare];
  const cuts = [...new Set([0, text.length, ...all.flatMap((one) => [one.offset, one.offset + one.length])])].sort((one, other) => one - other);
  for (let i = 0; i + 1 < cuts.length; i++) {
    let piece = document.createTextNode(text.slice(cuts[i], cuts[i + 1]));
    for (const one of all.filter((each) => each.offset <= cuts[i] && each.offset + each.length >= cuts[i + 1])) {
      const around = one.tag === "a" ? tgLink("", one.url) : el(one.tag);
      around.append(piece);
      piece = around;
    }
    words.append(piece);
  }
  return words;
}

function tgBubble(message) {
  if (message.action) return el("p", "service", message.action);
  const block = el("article", `bubble ${message.out ? "out" : ""}`);
  if (!message.out) block.append(el("b", "", message.name));
  if (message.media) block.append(el("p", "muted", message.media));
  if (message.text) block.append(tgWords(message.text, message.formats));
  const buttons = el("div", "buttons");
  for (const one of message.buttons.flat()) {
    const button = el("button", "small", one.text);
    button.type = "button";
    button.disabled = !one.data || message.out;
    button.addEventListener("click", () => tgAct("presses", {message: message.id, data: one.data}).then((answer) => answer?.text && tgShow(answer.text)));
    buttons.append(button);
  }
  if (buttons.childElementCount) block.append(buttons);
  const marks = message.out ? (message.read ? " · ✓✓ read" : " · ✓ sent") : "";
  block.append(el("p", "below-text", `${clock(message.date * 1000)}${message.edited ? " · edited" : ""}${marks}`));
  return block;
}

function tgDrawMessages(messages) {
  const feed = $("tg-feed");
  if (tgChanged("messages", [messages, tg.person, tg.chat])) {
    const atEnd = feed.scrollHeight - feed.scrollTop - feed.clientHeight < 80;
    const kept = new Map();
    feed.querySelector(".empty")?.remove();
    for (const message of messages) {
      const text = JSON.stringify(message);
      const before = tg.drawn.get(message.id);
      const block = before?.text === text ? before.block : tgBubble(message);
      if (!before) feed.append(block);
      else if (block !== before.block) before.block.replaceWith(block);
      kept.set(message.id, {text, block});
      tg.drawn.delete(message.id);
    }
    for (const {block} of tg.drawn.values()) block.remove();
    tg.drawn = kept;
    if (!messages.length) feed.replaceChildren(el("p", "empty", !tg.person ? "Choose a person to see Telegram as they do." : tg.chat ? "No message yet." : "Choose a chat: opening it reads what arrived."));
    if (atEnd) feed.scrollTop = feed.scrollHeight;
  }
  const person = tg.people.get(tg.person);
  const chat = tg.people.get(tg.chat)?.name || $("tg-chats").querySelector("[aria-pressed=true] .name")?.firstChild.textContent || "";
  $("tg-title").textContent = !person ? "Choose a person" : tg.chat ? `${person.name} with ${chat}` : person.name;
  $("tg-note").textContent = person && tg.chat ? "You act as this person: an open chat is read" : "";
  $("tg-label").textContent = person ? `As ${person.name}, to ${chat}` : "Message";
  $("tg-composer").hidden = !person || person.bot || !tg.chat;
}

function tgDrawCodes(codes, passwords) {
  if (tgChanged("codes", codes)) {
    const items = [...codes].reverse().map((code) => {
      const item = el("li");
      item.append(el("p", "muted", `Login code for +${code.phone}, ${clock(code.date * 1000)}`), el("p", "code", code.code));
      return item;
    });
    $("tg-codes").replaceChildren(...(items.length ? items : [el("li", "muted", "Codes appear here when an account is signed in.")]));
  }
  const locked = [...tg.people.values()].filter((person) => person.password && passwords[person.phone]);
  if (tgChanged("passwords", [locked.map((person) => person.phone), passwords])) {
    $("tg-passwords").replaceChildren(...locked.map((person) => {
      const item = el("li");
      item.append(el("p", "muted", `${person.name}, +${person.phone}`), el("p", "code", passwords[person.phone]));
      return item;
    }));
  }
}

async function tgAct(what, body) {
  tgShow("");
  try {
    return await call("POST", `/_sandbox/telegram/${what}`, {as: tg.person, chat: tg.chat, ...body});
  } catch (problem) { tgShow(problem.message); return null; } finally { tgAsk(); }
}

async function tgAsk() {
  clearTimeout(tg.timer);
  if ($("telegram").hidden) return;
  const {person, chat} = tg;
  try {
    const query = new URLSearchParams({as: person || "", chat: (person && chat) || ""});
    const seen = await call("GET", `/_sandbox/telegram?${query}`);
    if (person !== tg.person || chat !== tg.chat) return;
    tgDrawPeople(seen.people);
    tgDrawChats(seen.chats);
    tgDrawMessages(seen.messages);
    tgDrawCodes(seen.codes, seen.sample_passwords);
    const unread = seen.chats.some((one) => one.id === chat && one.unread);
    if (unread && document.visibilityState === "visible" && !tg.people.get(person)?.bot) await call("POST", "/_sandbox/telegram/reads", {as: person, chat});
  } catch (problem) {
    tgShow(problem.message);
  }
  clearTimeout(tg.timer);
  tg.timer = setTimeout(tgAsk, ASK_MS);
}

$("tg-composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("tg-message").value.trim();
  if (text && await tgAct("messages", {text})) $("tg-message").value = "";
});
$("tg-message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); $("tg-composer").requestSubmit(); }
});
$("tg-other").addEventListener("change", () => { if ($("tg-other").value) tgChoose(tg.person, Number($("tg-other").value)); $("tg-other").value = ""; });

function chooseView() {
  const telegram = location.hash === "#telegram";
  $("telegram").hidden = !telegram;
  $("mattermost").hidden = telegram;
  for (const link of $("views").querySelectorAll("a")) {
    if ((link.hash === "#telegram") === telegram) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (telegram) tgAsk(); else if (state.teamId) drawFeed();
}
addEventListener("hashchange", chooseView);
chooseView();
