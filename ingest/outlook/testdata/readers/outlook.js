// Reads names of .msg files, a line each, and writes what @kenjiuno/msgreader finds
// in each as a line of JSON; see told in readers_test.go.
'use strict'
const { createHash } = require('crypto')
const { readFileSync } = require('fs')
const { createInterface } = require('readline')
const { default: MsgReader } = require('@kenjiuno/msgreader')

const types = { to: 1, cc: 2, bcc: 3 }
const sum = (bytes) => createHash('sha256').update(bytes).digest('hex')
const or = (value, f) => value === undefined ? '' : f(value)

function tell(reader, m) {
  return {
    Class: m.messageClass ?? '',
    Sent: or(m.clientSubmitTime, Date.parse) / 1000,
    Subject: m.subject ?? '',
    Sender: m.senderEmail ?? '',
    Text: or(m.body, sum),
    HTML: or(m.html, sum),
    Recipients: m.recipients.map((r) => ({ Type: types[r.recipType] ?? 0, Address: r.email ?? '', Name: r.name ?? '' })),
    Attachments: m.attachments.map((a) => a.innerMsgContent
      ? { Name: a.fileName ?? '', Message: tell(reader, a.innerMsgContentFields) }
      : { Name: a.fileName ?? '', Sum: sum(reader.getAttachment(a).content) }),
  }
}

createInterface({ input: process.stdin }).on('line', (name) => {
  let told
  try {
    const b = readFileSync(name)
    const reader = new MsgReader(new DataView(b.buffer, b.byteOffset, b.length))
    const m = reader.getFileData()
    told = m.error ? { Trouble: ['fails: ' + m.error] } : tell(reader, m)
  } catch (e) {
    told = { Trouble: ['fails: ' + e] }
  }
  process.stdout.write(JSON.stringify(told) + '\n')
})
