use serde_json::json;

use super::*;

const SECURITY: &str = "Contact: mailto:security@example.com\nExpires: 2027-12-31T23:00:00Z\n";

fn parse(domain: &Value) -> Result<Files, Invalid> {
    Files::parse(&FileFields {
        robots: domain.get("robots"),
        favicon: domain.get("favicon"),
        apple_app_site_association: domain.get("appleAppSiteAssociation"),
        asset_links: domain.get("assetLinks"),
        security_txt: domain.get("securityTxt"),
    })
}

fn error(domain: &Value) -> String {
    parse(domain).unwrap_err().to_string()
}

fn read<'a>(files: &'a Files, path: &str) -> (&'a str, &'a [u8]) {
    match files.at(path.as_bytes()).unwrap() {
        File::Body { content_type, body, .. } => (content_type.to_str().unwrap(), body),
        File::Redirect(url) => ("", url),
    }
}

#[test]
fn each_file_stands_at_its_path_with_its_type() {
    let files = parse(&json!({
        "robots": "User-agent: *\nDisallow: /\n",
        "favicon": "data:image/png;base64,iVBORw==",
        "appleAppSiteAssociation": {"applinks": {"details": []}},
        "assetLinks": [{"relation": ["r"], "target": {"namespace": "web"}}],
        "securityTxt": SECURITY,
    }))
    .unwrap();
    assert_eq!(read(&files, "/robots.txt"), ("text/plain; charset=utf-8", &b"User-agent: *\nDisallow: /\n"[..]));
    assert_eq!(read(&files, "/favicon.ico"), ("image/png", &b"\x89PNG"[..]));
    let apple = ("application/json", &b"{\"applinks\":{\"details\":[]}}"[..]);
    assert_eq!(read(&files, "/.well-known/apple-app-site-association"), apple);
    assert_eq!(read(&files, "/apple-app-site-association"), apple);
    let links = b"[{\"relation\":[\"r\"],\"target\":{\"namespace\":\"web\"}}]";
    assert_eq!(read(&files, "/.well-known/assetlinks.json"), ("application/json", &links[..]));
    assert_eq!(read(&files, "/.well-known/security.txt"), ("text/plain; charset=utf-8", SECURITY.as_bytes()));
    for path in ["/", "/robots.txt/", "/Robots.txt", "//robots.txt", "/security.txt"] {
        assert_eq!(files.at(path.as_bytes()), None, "{path}");
    }
    assert!(!files.is_empty());
    assert_eq!(files.security_expires(), Some("2027-12-31T23:00:00Z".parse().unwrap()));
}

#[test]
fn what_a_domain_lacks_is_absent() {
    let files = parse(&json!({"robots": null})).unwrap();
    assert!(files.is_empty());
    assert_eq!(files.at(b"/robots.txt"), None);
}

#[test]
fn an_icon_can_be_elsewhere() {
    let files = parse(&json!({"favicon": "https://www.example.com/i.ico"})).unwrap();
    let url = Bytes::from_static(b"https://www.example.com/i.ico");
    assert_eq!(files.at(b"/favicon.ico"), Some(&File::Redirect(url)));
}

#[test]
fn an_icon_that_can_hold_scripts_runs_none() {
    let files = parse(&json!({"favicon": "data:image/svg+xml;base64,PHN2Zy8+"})).unwrap();
    let Some(File::Body { csp: Some(csp), .. }) = files.at(b"/favicon.ico") else { panic!("no policy") };
    assert!(csp.to_str().unwrap().contains("default-src 'none'"));
}

#[test]
fn files_are_checked() {
    let large = "x".repeat(MAX_FILE + 1);
    let icon = format!("data:image/png;base64,{}", STANDARD.encode(vec![0; MAX_FAVICON + 1]));
    let cases = [
        (json!({"robots": 1}), "robots: `1`: write the file as text"),
        (json!({"robots": large}), "robots: `131073 bytes`: shorten it to 131072 bytes"),
        (json!({"robots": "a\u{7}"}), "robots: `\\u{7}`: remove the control character"),
        (json!({"favicon": "javascript:x"}), "favicon: `javascript:x`: write a URL of https"),
        (json!({"favicon": "data:text/html;base64,eA=="}), "no icon that browsers show"),
        (json!({"favicon": "data:image/png;base64,*"}), "write the icon as base64"),
        (json!({"favicon": icon}), "the icon has 65537 bytes"),
        (json!({"appleAppSiteAssociation": []}), "appleAppSiteAssociation: `[]`: write an object"),
        (json!({"appleAppSiteAssociation": "{"}), "this text is not JSON"),
        (json!({"appleAppSiteAssociation": {"applink": {}}}), "an object for applinks"),
        (json!({"assetLinks": {}}), "assetLinks: `{}`: write a list of statements"),
        (json!({"assetLinks": [{"relation": ["r"]}]}), "assetLinks[0]: "),
        (json!({"securityTxt": "Expires: 2027-12-31T23:00:00Z"}), "write a contact"),
        (json!({"securityTxt": "Contact: a@example.com\nExpires: 2027-12-31T23:00:00Z"}), "write an address"),
        (json!({"securityTxt": "Contact: http://a.example/\nExpires: 2027-12-31T23:00:00Z"}), "write an address"),
        (json!({"securityTxt": "Contact: mailto:a@example.com"}), "write when it expires"),
        (json!({"securityTxt": "Contact: mailto:a@example.com\nExpires: 2027-12-31"}), "a date of RFC 3339"),
        (json!({"securityTxt": format!("{SECURITY}Expires: 2028-12-31T23:00:00Z")}), "write `Expires` once"),
        (json!({"securityTxt": format!("{SECURITY}hello")}), "securityTxt: `hello`: write each line as"),
    ];
    for (domain, expected) in cases {
        let error = error(&domain);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_signed_security_txt_is_read() {
    let text = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n# a comment\n{SECURITY}\n\
         -----BEGIN PGP SIGNATURE-----\n\niQ: x\n-----END PGP SIGNATURE-----\n"
    );
    assert!(parse(&json!({"securityTxt": text})).is_ok());
}
