import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Calendar;
import java.util.List;

import org.apache.poi.hsmf.MAPIMessage;
import org.apache.poi.hsmf.datatypes.AttachmentChunks;
import org.apache.poi.hsmf.datatypes.ByteChunk;
import org.apache.poi.hsmf.datatypes.Chunks;
import org.apache.poi.hsmf.datatypes.MAPIProperty;
import org.apache.poi.hsmf.datatypes.PropertyValue;
import org.apache.poi.hsmf.datatypes.RecipientChunks;
import org.apache.poi.hsmf.datatypes.StringChunk;

/**
 * Reads names of .msg files, a line each, and writes what Apache POI HSMF finds in
 * each as a line of JSON; see told in readers_test.go.
 */
public class Outlook {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String name = in.readLine(); name != null; name = in.readLine()) {
            String told;
            try (MAPIMessage m = new MAPIMessage(new File(name))) {
                told = tell(m);
            } catch (Exception e) {
                told = "{\"Trouble\":[" + quoted("fails: " + e) + "]}";
            }
            out.println(told);
        }
    }

    static String tell(MAPIMessage m) throws Exception {
        Chunks c = m.getMainChunks();
        StringBuilder b = new StringBuilder();
        b.append("{\"Class\":").append(quoted(text(c.getMessageClass())));
        List<PropertyValue> sent = c.getProperties().get(MAPIProperty.CLIENT_SUBMIT_TIME);
        b.append(",\"Sent\":").append(sent == null ? 0 : ((Calendar) sent.get(0).getValue()).getTimeInMillis() / 1000);
        b.append(",\"Subject\":").append(quoted(text(c.getSubjectChunk())));
        b.append(",\"Sender\":").append(quoted(text(c.getEmailFromChunk())));
        StringChunk body = c.getTextBodyChunk();
        b.append(",\"Text\":").append(quoted(body == null ? "" : sum(body.getValue().getBytes(StandardCharsets.UTF_8))));
        ByteChunk html = c.getHtmlBodyChunkBinary();
        b.append(",\"HTML\":").append(quoted(html == null ? "" : sum(html.getValue())));
        b.append(",\"Recipients\":[");
        String comma = "";
        for (RecipientChunks r : m.getRecipientDetailsChunks()) {
            List<PropertyValue> type = r.getProperties().get(MAPIProperty.RECIPIENT_TYPE);
            b.append(comma).append("{\"Type\":").append(type == null ? 0 : type.get(0).getValue());
            b.append(",\"Address\":").append(quoted(text(r.recipientEmailChunk)));
            b.append(",\"Name\":").append(quoted(text(r.recipientDisplayNameChunk))).append("}");
            comma = ",";
        }
        b.append("],\"Attachments\":[");
        comma = "";
        for (AttachmentChunks a : m.getAttachmentFiles()) {
            b.append(comma).append("{\"Name\":").append(quoted(text(a.getAttachLongFileName())));
            if (a.isEmbeddedMessage()) {
                b.append(",\"Message\":").append(tell(a.getEmbeddedMessage())).append("}");
            } else {
                ByteChunk data = a.getAttachData();
                b.append(",\"Sum\":").append(quoted(sum(data == null ? new byte[0] : data.getValue()))).append("}");
            }
            comma = ",";
        }
        return b.append("]}").toString();
    }

    static String text(StringChunk c) {
        return c == null ? "" : c.getValue();
    }

    static String sum(byte[] b) throws Exception {
        return String.format("%064x", new BigInteger(1, MessageDigest.getInstance("SHA-256").digest(b)));
    }

    static String quoted(String s) {
        StringBuilder b = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c < ' ' || c == '"' || c == '\\') {
                b.append(String.format("\\u%04x", (int) c));
            } else {
                b.append(c);
            }
        }
        return b.append('"').toString();
    }
}
